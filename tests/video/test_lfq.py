"""Signs, indices and the exact entropies of the lookup-free quantizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.video import lfq


def naive(z, inverse_temperature):
    """Both entropies with one column per code."""
    bits = z.shape[-1]
    codes = lfq.codes_from_indices(jnp.arange(2**bits), bits)
    distance = jnp.sum(jnp.square(z[:, None] - codes), axis=-1)
    log_p = jax.nn.log_softmax(-inverse_temperature * distance)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(z))
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, -1)), -jnp.sum(jnp.exp(log_mean) * log_mean)


def latents(tokens, bits, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(tokens, bits))).astype(np.float32)


def test_literal_bits():
    z = jnp.array([0.3, -1.2, 0.0, 2.1])
    assert int(lfq.indices(z)) == 9
    assert_array_equal(lfq.codes_from_indices(jnp.array(9), 4), [1, -1, -1, 1])
    assert_array_equal(lfq.quantize(z).codes, [1, -1, -1, 1])


@pytest.mark.parametrize("bits", [1, 9, 18])
def test_indices_and_codes_are_one_to_one(bits):
    index = jnp.unique(jnp.linspace(0, 2**bits - 1, 300).astype(jnp.int32))
    codes = lfq.codes_from_indices(index, bits)
    assert_array_equal(lfq.indices(codes), index)
    assert_array_equal(jnp.abs(codes), 1)
    assert_array_equal(lfq.quantize(0.1 * codes).codes, codes)


def test_gradient_passes_straight_through():
    z, weights = latents(6, 5), latents(6, 5, seed=1)
    gradient = jax.grad(lambda z: jnp.sum(weights * lfq.quantize(z).codes))(z)
    assert_array_equal(gradient, weights)


def both(entropies, inverse_temperature):
    """Jitted z → ((values), (gradients)) of the two entropies."""

    def run(z):
        values, pull = jax.vjp(lambda z: tuple(entropies(z, inverse_temperature)), z)
        return values, [pull(one)[0] for one in ((1.0, 0.0), (0.0, 1.0))]

    return jax.jit(run)


@pytest.mark.parametrize("bits", [1, 7, 10])
def test_entropy_and_gradient_equal_those_of_the_sum_over_codes(bits):
    ours, theirs = both(lfq.entropy, 0.5), both(naive, 0.5)
    for scale in (0.1, 1.0, 10.0):
        z = latents(40, bits, scale)
        (values, gradients), (true_values, true_gradients) = ours(z), theirs(z)
        assert_allclose(values, true_values, rtol=2e-5, atol=2e-5)
        assert_allclose(gradients, true_gradients, rtol=1e-3, atol=2e-6)


def test_blocks_change_nothing(monkeypatch):
    z = latents(103, 8)
    whole = both(lfq.entropy, 0.5)(z)
    monkeypatch.setattr(lfq, "TOKENS_PER_BLOCK", 20)  # six blocks of 18, five tokens of filling
    for blocks, once in zip(jax.tree.leaves(both(lfq.entropy, 0.5)(z)), jax.tree.leaves(whole), strict=True):
        assert_allclose(blocks, once, rtol=1e-5, atol=1e-7)


def test_uniform_and_certain_at_2_to_the_18():
    entropy = jax.jit(lambda z: lfq.entropy(z, 1.0))
    uniform, certain = entropy(np.zeros((3, 18), np.float32)), entropy(np.full((3, 18), 100.0, np.float32))
    assert_allclose([uniform.per_sample, uniform.of_mean], 18 * np.log(2), rtol=1e-6)
    assert_allclose([certain.per_sample, certain.of_mean], 0.0, atol=1e-6)


def test_finite_at_2_to_the_18():
    run = both(lfq.entropy, 1.0)
    for scale in (0.0, 1.0, 1e3):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(latents(64, 18, scale))))


def test_mean_of_certain_tokens_counts_distinct_codes():
    index = jnp.array([5, 5, 70_000, 200_000])
    entropy = jax.jit(lambda index: lfq.entropy(10 * lfq.codes_from_indices(index, 18), 1.0))(index)
    assert_allclose(entropy.of_mean, 0.5 * np.log(2) + 0.5 * np.log(4), rtol=1e-5)


def test_ten_thousand_tokens_stay_below_a_gigabyte():
    loss = jax.jit(jax.grad(lambda z: lfq.entropy(z, 1.0).of_mean))
    memory = loss.lower(jax.ShapeDtypeStruct((10_240, 18), jnp.float32)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**30


def test_mean_is_over_all_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    z = latents(32, 6)
    spread = jax.device_put(z, jax.NamedSharding(mesh, jax.P("data")))
    assert len(spread.sharding.device_set) == 4
    entropy = jax.jit(lambda z: lfq.entropy(z, 1.0))
    assert_allclose(entropy(spread), entropy(z), rtol=1e-6)


def test_balance_of_bits_on_literal_latents():
    """Three of four, none, and half of the tokens have the bit set: the rarer sides are 1/4, 0 and 1/2."""
    z = jnp.array([[1.0, -1.0, 2.0], [3.0, -0.5, -2.0], [-1.0, 0.0, -1.0], [0.1, -4.0, 1.0]])
    balance = lfq.bit_balance(z)
    assert float(balance["bit_balance_worst"]) == 0 and float(balance["bit_balance_mean"]) == 0.25
