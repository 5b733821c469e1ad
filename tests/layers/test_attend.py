"""Every way of attending against NumPy or against the plain one: blocks, kernels, and stretches of a sequence on eight
devices; values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers import attend as attend_module
from videopoet_jax.layers.attend import attend, block_of, cudnn, plain, splash
from videopoet_jax.layers.masks import prefix_visible
from videopoet_jax.parallel import make_mesh


def qkv(b=2, n=5, m=4, g=2, e=8):
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(key, (b, n, heads, e)) for key, heads in zip(keys, (m, g, g), strict=True))


def alone(prefixes, n):
    """A sequence a row, with prefixes of these lengths; of every row the second position is padding."""
    valid = jnp.ones((len(prefixes), n), bool).at[:, 1].set(False)
    return prefix_visible(jnp.array(prefixes)[:, None], valid, 0, n)


def shared(n):
    """Two rows of several sequences each, and padding behind them."""
    segment = np.zeros((2, n), np.int32)
    ends = np.zeros((2, n), np.int32)
    for row, cuts in enumerate([(0, n // 3, n // 2), (0, 3 * n // 4, 3 * n // 4 + 9)]):
        for number, (start, stop) in enumerate(zip(cuts, cuts[1:], strict=False), 1):
            segment[row, start:stop], ends[row, start:stop] = number, (start + stop) // 2
    return prefix_visible(jnp.asarray(ends), jnp.asarray(segment > 0), 0, n, jnp.asarray(segment))


def naive(q, k, v, mask):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros_like(q)
    group = q.shape[2] // k.shape[2]
    for b, i, m in np.ndindex(q.shape[:3]):
        scores = np.array([q[b, i, m] @ k[b, j, m // group] / q.shape[3] ** 0.5 for j in range(k.shape[1])])
        weights = np.where(mask[b, i], np.exp(scores - scores.max()), 0)
        out[b, i, m] = weights / weights.sum() @ v[b, :, m // group]
    return out


def assert_same(one, other, q, k, v, visible):
    """Values and gradients, of the queries that see anything: what the others give is nobody's concern."""
    used = visible.dense().any(axis=-1)[:, :, None, None]
    direction = jax.random.normal(jax.random.key(9), q.shape) * used

    @functools.partial(jax.jit, static_argnums=0)
    def run(attend, q, k, v):
        y, pull = jax.vjp(lambda *x: attend(*x, visible), q, k, v)
        return (y * used, *pull(direction))

    for a, b in zip(run(one, q, k, v), run(other, q, k, v), strict=True):
        assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_plain_against_numpy(kv_heads):
    q, k, v = qkv(g=kv_heads)
    visible = alone([2, 3], 5)
    assert_allclose(plain(q, k, v, visible), naive(q, k, v, np.asarray(visible.dense())), atol=1e-5)


def test_a_masked_position_has_no_influence():
    q, k, v = qkv()
    visible = alone([2, 3], 5)
    changed = plain(q, k.at[:, 1].add(100.0), v.at[:, 1].add(100.0), visible)
    assert_array_equal(changed, plain(q, k, v, visible))


def test_blocks_of_queries_are_the_whole(monkeypatch):
    monkeypatch.setattr(attend_module, "PLAIN_QUERIES", 8)
    for n in (16, 21):
        assert_same(plain, attend_module._plain_block, *qkv(n=n), alone([2, 9], n))


def test_blocks_of_queries_bound_the_memory():
    """Scores of 8,192 positions to each other are 256 MB a head; in blocks they are 32, as is their gradient."""
    n, heads = 8192, 4
    shapes = [jax.ShapeDtypeStruct((1, n, heads, 8), jnp.float32)] * 3

    def loss(q, k, v):
        return jnp.sum(plain(q, k, v, alone([3], n)))

    compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.3 * heads * n * n * 4


def test_the_block_is_the_largest_that_pads_little():
    assert [block_of(n) for n in (1, 128, 300, 1790, 2048, 4928, 265_344)] == [128, 128, 128, 256, 1024, 1024, 1024]


@pytest.mark.parametrize("name", ["prefixes", "shared rows"])
def test_splash_attention_is_the_plain_one(name):
    """In Pallas' interpreter, which runs the kernel's own blocks; 300 positions are three blocks, the last padded."""
    n = 300
    visible = alone([130, 290], n) if name == "prefixes" else shared(n)
    assert_same(functools.partial(splash, interpret=True), plain, *qkv(n=n, e=16), visible)


def test_cudnns_arguments_mean_what_ours_do():
    """JAX's own reference of the same function; the kernel itself needs a GPU."""
    n = 24
    for visible in (alone([3, 20], n), shared(n)):
        assert_same(functools.partial(cudnn, implementation="xla"), plain, *qkv(n=n), visible)


@pytest.mark.parametrize("sizes", [dict(sequence=4, data=2), dict(sequence=2, tensor=2, fsdp=2), dict(sequence=8)])
@pytest.mark.parametrize("kv_heads", [2, 8])
def test_a_sequence_spread_over_devices_is_the_whole(sizes, kv_heads):
    mesh = make_mesh(**({"data": 1} | sizes))
    q, k, v = qkv(b=2, n=32, m=8, g=kv_heads)

    for visible in (alone([3, 20], 32), shared(32)):

        @functools.partial(jax.jit, static_argnums=0)
        def run(attend, q, k, v, visible=visible):
            y, pull = jax.vjp(lambda *x: attend(*x, visible), q, k, v)
            used = visible.dense().any(axis=-1)[:, :, None, None]
            return (y * used, *pull(y * used))

        with jax.set_mesh(mesh):
            found = run(attend, q, k, v)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, run(plain, q, k, v))


def test_stretches_are_swapped_for_heads_and_nothing_is_gathered():
    mesh = make_mesh(data=1, sequence=8)
    q, k, v = qkv(b=1, n=64, m=8, g=8)
    with jax.set_mesh(mesh):
        place = jax.NamedSharding(mesh, jax.P(None, "sequence"))
        text = jax.jit(attend).lower(*(jax.device_put(x, place) for x in (q, k, v)), alone([3], 64)).compile().as_text()
    assert "all-to-all" in text and "f32[1,64,8,8]" not in text  # no device holds the whole sequence with all heads
