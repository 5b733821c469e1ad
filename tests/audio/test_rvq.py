"""The quantizer against brute force, closed forms, and what its codebooks must do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.audio import rvq
from videopoet_jax.parallel import batch_sharding, make_mesh


def gaussian(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def brute_force(z: np.ndarray, tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every distance, level after level, in float64."""
    rest, codes = z.astype(np.float64), []
    for table in tables.astype(np.float64):
        codes.append(np.argmin(((rest[..., None, :] - table) ** 2).sum(-1), axis=-1))
        rest = rest - table[codes[-1]]
    return np.stack(codes, -1), rest


def test_quantize_is_brute_force_on_every_level():
    z, tables = gaussian(0, 3, 50, 8), gaussian(1, 4, 256, 8) * jnp.array([1, 0.5, 0.25, 0.1])[:, None, None]
    q = rvq.quantize(z, tables, jnp.full((3,), 4))
    codes, rest = brute_force(np.asarray(z), np.asarray(tables))
    assert_array_equal(q.codes, codes)
    assert_allclose(z - q.value, rest, atol=1e-5)


def test_ties_go_to_the_lowest_index():
    table = jnp.array([[5.0, 5], [1, 0], [-1, 0], [1, 0], [0, 3]])  # small integers: every sum is exact
    assert_array_equal(rvq.nearest(jnp.array([[0.0, 0], [1, 0], [9, 9]]), table), [1, 1, 0])


@pytest.mark.parametrize("number", [3, 512, 513, 1300])
def test_blocks_find_what_one_search_does(number):
    vectors, table = gaussian(0, number, 8), gaussian(1, 100, 8)
    table, vectors = table.at[40].set(table[7]), vectors.at[1].set(table[7]).at[2].set(jnp.nan)
    found = rvq._nearest_in_blocks(vectors, table)
    assert_array_equal(found, rvq._nearest(vectors, table))
    assert found[1] == 7 and found[2] == 0
    broken = table.at[60].set(jnp.nan)
    found = rvq._nearest_in_blocks(vectors, broken)
    assert_array_equal(found, rvq._nearest(vectors, broken))
    assert 60 not in found


def test_literal_residual_levels():
    tables = jnp.array([[[0.0], [10]], [[0], [1]]])
    q = rvq.quantize(jnp.array([[[10.8]]]), tables, jnp.array([2]))
    assert_array_equal(q.codes, [[[1, 1]]])
    assert_allclose(q.value, [[[11.0]]])


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_indices_round_trip(levels):
    """An entry's own sum quantizes to its codes when the levels are far apart in size, and back."""
    tables = gaussian(2, 3, 32, 6) * jnp.array([100, 1, 0.01])[:, None, None]
    codes = jax.random.randint(jax.random.key(3), (2, 20, levels), 0, 32)
    value = rvq.dequantize(codes, tables)
    assert_array_equal(rvq.quantize(value, tables[:levels], jnp.full((2,), levels)).codes, codes)


def test_dropout_keeps_the_first_levels_of_each_example():
    z, tables = gaussian(4, 3, 10, 4), gaussian(5, 3, 16, 4)
    q = rvq.quantize(z, tables, jnp.array([1, 3, 2]))
    for i, levels in enumerate([1, 3, 2]):
        assert_allclose(q.value[i], rvq.dequantize(q.codes[i : i + 1, :, :levels], tables)[0], rtol=1e-6)
    assert_array_equal(q.used, [[1, 0, 0], [1, 1, 1], [1, 1, 0]])


def test_drawn_levels_are_uniform_and_differ_between_examples():
    drawn = np.bincount(np.asarray(rvq.draw_levels(jax.random.key(0), 4000, 4)), minlength=5)
    assert drawn[0] == 0 and len(drawn) == 5
    assert abs(drawn[1:] - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)  # four standard deviations


update_codebooks = jax.jit(rvq.update_codebooks, static_argnames=("decay", "dead_usage"))
start_codebooks = jax.jit(partial(rvq.start_codebooks, iterations=10, dead_usage=0.0))


def started(seed: int, levels: int, size: int, z: jax.Array) -> rvq.Codebooks:
    return start_codebooks(jax.random.key(seed), z, rvq.empty_codebooks(levels, size, z.shape[-1]))


def test_more_levels_err_less():
    z = gaussian(6, 4, 100, 8)
    books = started(0, 4, 32, z)
    error = [float(jnp.mean((z - rvq.quantize(z, books.embedding, jnp.full((4,), n)).value) ** 2)) for n in range(5)]
    assert all(after < 0.8 * before for before, after in zip(error, error[1:], strict=False)), error


def test_kmeans_start_finds_the_clusters():
    centres = jnp.array([[0.0, 0], [100, 0], [0, 100]])
    z = (centres[jnp.arange(300) % 3] + gaussian(7, 300, 2))[None]
    found, counts = rvq.kmeans(jax.random.key(1), z[0], 24, 20)
    assert bool(rvq.empty_codebooks(1, 3, 2).started) is False and bool(started(1, 1, 24, z).started)
    error = float(jnp.mean((z[0] - found[rvq.nearest(z[0], found)]) ** 2))
    assert error < 0.5 and float(counts.sum()) == 300  # one cluster for all would err by thousands


def test_fewer_vectors_than_entries_still_start():
    books = started(2, 2, 64, gaussian(8, 1, 10, 3))
    assert np.isfinite(books.embedding).all()
    assert_allclose(rvq.quantize(gaussian(8, 1, 10, 3), books.embedding, jnp.array([1])).value, gaussian(8, 1, 10, 3))


def test_update_is_the_closed_form():
    """After n equal batches the average is γⁿ·start + (1 − γⁿ)·batch, entry by entry."""
    z, levels = gaussian(9, 2, 64, 3), jnp.array([1, 2])
    first = books = started(3, 2, 8, z)
    q = rvq.quantize(z, books.embedding, levels)
    for i in range(5):
        books = update_codebooks(jax.random.key(i), books, q, decay=0.9, dead_usage=0.0)
    for level, rows in enumerate([slice(0, 2), slice(1, 2)]):  # level 1 learns from the second example only
        x = np.asarray(q.inputs[level, rows]).reshape(-1, 3)
        hits = np.eye(8)[np.asarray(q.codes[rows, :, level]).reshape(-1)]
        keep = 0.9**5
        counts = keep * np.asarray(first.counts[level]) + (1 - keep) * hits.sum(0)
        sums = keep * np.asarray(first.sums[level]) + (1 - keep) * hits.T @ x
        assert_allclose(books.counts[level], counts, rtol=1e-5)
        assert_allclose(books.sums[level], sums, rtol=1e-4, atol=1e-5)
        assert_allclose(books.embedding[level], sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_a_dead_entry_becomes_a_vector_of_the_batch_and_lives_on():
    z = gaussian(10, 1, 50, 3)
    books = started(4, 1, 8, z)
    books = books._replace(
        embedding=books.embedding.at[0, 5].set(1e3), counts=books.counts.at[0, 5].set(1.9),
        sums=books.sums.at[0, 5].set(1.9e3),
    )  # fmt: skip
    q = rvq.quantize(z, books.embedding, jnp.array([1]))
    after = update_codebooks(jax.random.key(0), books, q, decay=0.99, dead_usage=0.5)
    assert jnp.min(jnp.sum((z[0] - after.embedding[0, 5]) ** 2, -1)) < 1e-10
    assert float(after.counts[0, 5]) > 2  # it is given time to be chosen
    assert_array_equal(after.embedding[0, 5], after.sums[0, 5] / after.counts[0, 5])


def test_a_table_that_fits_stays_however_small_the_batch():
    """75 vectors for 64 entries: SoundStream's two hits of a batch would call every one of them dead."""
    centres = gaussian(12, 64, 3)
    books = rvq.Codebooks(centres[None], jnp.full((1, 64), 75 / 64), centres[None] * 75 / 64, jnp.ones((), bool))

    def learn(books, key):
        z = centres[jax.random.randint(key, (1, 75), 0, 64)]
        q = rvq.quantize(z, books.embedding, jnp.array([1]))
        books = rvq.update_codebooks(key, books, q, decay=0.99, dead_usage=0.1)
        return books, jnp.max(jnp.abs(q.value - z))

    _, errors = jax.lax.scan(learn, books, jax.random.split(jax.random.key(0), 300))
    assert float(jnp.max(errors)) < 1e-4


def test_revival_takes_only_examples_that_use_the_level():
    z = jnp.stack([jnp.zeros((20, 2)), jnp.full((20, 2), 7.0)])
    books = rvq.Codebooks(jnp.full((2, 4, 2), 50.0), jnp.zeros((2, 4)), jnp.zeros((2, 4, 2)), jnp.ones((), bool))
    q = rvq.quantize(z, books.embedding * jnp.array([1, 0])[:, None, None], jnp.array([2, 1]))
    after = update_codebooks(jax.random.key(0), books, q, decay=0.99, dead_usage=2.0)
    assert_allclose(after.embedding[1], jnp.full((4, 2), -50.0), rtol=1e-6)  # level 1 saw 0 − 50 only


def test_a_level_that_nobody_uses_stays():
    z = gaussian(11, 2, 20, 3)
    books = started(5, 2, 8, z)
    q = rvq.quantize(z, books.embedding, jnp.array([1, 1]))
    after = update_codebooks(jax.random.key(0), books, q, decay=0.5, dead_usage=9.0)
    assert_array_equal(after.embedding[1], books.embedding[1])
    assert_array_equal(after.counts[1], books.counts[1])
    assert not np.array_equal(after.embedding[0], books.embedding[0])


def test_straight_through_and_commitment_pull_only_the_encoder():
    z, tables = gaussian(12, 2, 5, 3), gaussian(13, 2, 8, 3)

    def value(z):
        return rvq.straight_through(z, rvq.quantize(z, tables, jnp.array([1, 2])).value)

    out, pull = jax.vjp(value, z)
    assert_allclose(out, rvq.quantize(z, tables, jnp.array([1, 2])).value, atol=1e-6)
    assert_array_equal(pull(gaussian(14, 2, 5, 3))[0], gaussian(14, 2, 5, 3))

    def loss(z, tables):
        return rvq.commitment(z, rvq.quantize(z, tables, jnp.array([2, 2])), tables)

    to_z, to_tables = jax.grad(loss, (0, 1))(z, tables)
    assert_array_equal(to_tables, 0 * tables)
    assert float(loss(z - 0.01 * to_z, tables)) < float(loss(z, tables))


def test_perplexity_counts_the_entries_in_use():
    books = rvq.empty_codebooks(3, 8, 2)._replace(counts=jnp.array([[1.0] * 8, [3, 3, 0, 0, 0, 0, 0, 0], [0] * 8]))
    assert_allclose(rvq.perplexity(books), [8, 2, 1], rtol=1e-5)


def test_a_sharded_batch_learns_the_same_codebooks():
    """Eight devices, one example each: the averages run over the whole batch."""
    z = gaussian(15, 8, 30, 4)
    mesh = make_mesh()

    @jax.jit
    def learn(z):
        books = rvq.start_codebooks(jax.random.key(0), z, rvq.empty_codebooks(2, 16, 4), iterations=5, dead_usage=0.1)
        q = rvq.quantize(z, books.embedding, jnp.full((8,), 2))
        return rvq.update_codebooks(jax.random.key(1), books, q, decay=0.9, dead_usage=0.1)

    alone = learn(z)
    with jax.set_mesh(mesh):
        spread = learn(jax.device_put(z, batch_sharding(mesh)))
    for a, b in zip(alone, spread, strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-4)
