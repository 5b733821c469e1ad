"""The denoising objective: what is hidden, what is scored, and that a few steps learn something."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.text.losses import Corrupted, corrupt, denoising_loss, tied_logits
from videopoet_jax.text.t5 import T5Encoder
from videopoet_jax.text.vocabulary import EOS, PAD

SENTINELS = (3, 4)
NOISE = dict(sentinels=SENTINELS, rate=0.3, mean_span=1.5, keep=0.1)


def noise(key: int, ids: np.ndarray, mask: np.ndarray, **changes) -> Corrupted:
    jitted = jax.jit(functools.partial(corrupt, **{**NOISE, **changes}))
    return Corrupted(*(np.asarray(x) for x in jitted(jax.random.key(key), ids, mask)))


def texts(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 1 to 11 pieces from 10 to 29, the end mark, padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(10, 30, (rows, 12))
    ends = rng.integers(1, 12, rows)
    ids[np.arange(rows), ends] = EOS
    ids[np.arange(12)[None] > ends[:, None]] = PAD
    return ids.astype(np.int32), ids != PAD


def test_only_pieces_are_hidden_and_the_rest_is_untouched():
    ids, mask = texts(64)
    noisy = noise(0, ids, mask)
    assert not (noisy.scored & (~mask | (ids == EOS))).any()
    assert not (noisy.hidden & ~noisy.scored).any()
    assert_array_equal(noisy.ids[~noisy.hidden], ids[~noisy.hidden])
    assert np.isin(noisy.ids[noisy.hidden], SENTINELS).all()


def test_a_span_has_one_sentinel_and_the_next_span_the_next():
    ids, mask = texts(64)
    noisy = noise(1, ids, mask, keep=0.0)
    for row, hidden in zip(np.asarray(noisy.ids), np.asarray(noisy.hidden), strict=True):
        firsts = np.flatnonzero(hidden & ~np.r_[False, hidden[:-1]])
        for number, first in enumerate(firsts):
            length = np.argmin(np.r_[hidden[first:], False])
            assert set(row[first : first + length]) == {SENTINELS[number % 2]}


def test_rates_are_about_what_was_asked_for():
    ids = np.full((400, 64), 10, np.int32)
    noisy = noise(2, ids, ids > 0)
    assert 0.22 < noisy.scored.mean() < 0.30  # spans overlap, so a little under the rate
    assert 0.87 < noisy.hidden.sum() / noisy.scored.sum() < 0.93
    spans = (noisy.scored & ~np.pad(noisy.scored, ((0, 0), (1, 0)))[:, :-1]).sum()
    assert 1.4 < noisy.scored.sum() / spans < 2.2  # neighbours merge, so a little over the mean
    assert 0.28 < noise(2, ids, ids > 0, mean_span=1.0).scored.mean() < 0.32


def test_logits_are_scaled_products_with_the_table():
    rng = np.random.default_rng(0)
    hidden, table = rng.normal(size=(1, 2, 16)).astype(np.float32), rng.normal(size=(5, 16)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(tied_logits)(hidden, table), hidden @ table.T / 4, atol=1e-5)


@pytest.fixture(scope="module")
def setup():
    model = T5Encoder(
        vocabulary=32, width=32, depth=1, heads=2, head_width=16, mlp_width=32, buckets=8, max_distance=20,
        epsilon=1e-6, dtype="float32",
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 4), np.int32), np.ones((1, 4), bool))["params"]
    return denoising_loss(model, **NOISE), nn.meta.unbox(params)


def keys_at(step):
    return lambda purpose: jax.random.fold_in(jax.random.key(5), step)


def test_a_batch_with_nothing_to_hide_costs_nothing(setup):
    loss_fn, params = setup
    ids = np.array([[EOS, PAD, PAD, PAD]] * 2, np.int32)
    batch = {"ids": ids, "mask": ids != PAD}
    loss, aux = jax.jit(lambda params, batch: loss_fn(params, {}, batch, keys_at(0)))(params, batch)
    assert loss == 0 and aux.metrics["hidden_accuracy"] == 0 and aux.extra == {}


def test_training_learns_what_context_tells(setup):
    loss_fn, params = setup
    # Piece i is followed by i + 10: half of every hidden pair is known from the other half.
    rng = np.random.default_rng(0)
    first = rng.integers(10, 20, (256, 4))
    ids = np.stack([first, first + 10], -1).reshape(256, 8)
    batch = {"ids": ids.astype(np.int32), "mask": ids > 0}
    optimizer = optax.adam(1e-2)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch, number):
        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, {}, batch, keys_at(number))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss, aux.metrics["hidden_accuracy"]

    params = jax.tree.map(jnp.copy, params)
    state, losses = jax.jit(optimizer.init)(params), []
    for number in range(80):
        params, state, loss, accuracy = step(params, state, batch, number)
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]
    assert accuracy > 0.5  # guessing gives 0.05, knowing the half (first or second) 0.1
