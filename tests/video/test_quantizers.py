"""The quantizers' one protocol: round trips, every code reachable, straight-through gradients; VQ by brute force."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.video import fsq, vq
from videopoet_jax.video.quantizers import make_quantizer

SPECS = [
    {"name": "lfq", "bits": 7},
    {"name": "fsq", "levels": (4, 3, 2, 5)},
    {"name": "vq", "size": 37, "channels": 6},
]


def bound(spec):
    """The quantizer as plain functions, with a table of its own where it has one."""
    quantizer = make_quantizer(spec)
    z = jnp.zeros((1, quantizer.channels))
    variables = nn.meta.unbox(quantizer.init(jax.random.key(0), z))
    return quantizer, lambda method, *x: quantizer.apply(variables, *x, method=method), variables


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s["name"])
def test_every_code_survives_lookup_and_back(spec):
    quantizer, call, _ = bound(spec)
    every = jnp.arange(quantizer.size)
    codes = call("lookup", every)
    assert codes.shape == (quantizer.size, quantizer.channels)
    assert len(np.unique(np.asarray(codes), axis=0)) == quantizer.size
    if spec["name"] == "fsq":  # rounded values are inside the bound, whose tanh moves them: look at the digits instead
        assert_array_equal(jnp.round(codes * fsq.halves(spec["levels"])) / fsq.halves(spec["levels"]), codes)
    else:
        assert_array_equal(call("indices", codes), every)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s["name"])
def test_codes_are_those_of_the_indices_and_random_latents_reach_most(spec):
    quantizer, call, _ = bound(spec)
    z = 2 * jax.random.normal(jax.random.key(1), (5, 400, quantizer.channels))
    if spec["name"] == "vq":
        z = z / 3
    codes, index = call("__call__", z)
    assert index.shape == (5, 400) and index.dtype == jnp.int32
    assert int(index.min()) >= 0 and int(index.max()) < quantizer.size
    assert_allclose(codes, call("lookup", index), atol=1e-6)
    assert_array_equal(index, call("indices", z))
    assert len(np.unique(index)) > 0.6 * quantizer.size


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s["name"])
def test_gradients_pass_straight_through(spec):
    quantizer, call, _ = bound(spec)
    z = 0.3 * jax.random.normal(jax.random.key(2), (50, quantizer.channels))
    weights = jax.random.normal(jax.random.key(3), z.shape)
    gradient = jax.grad(lambda z: jnp.sum(weights * call("__call__", z).codes))(z)
    if spec["name"] == "fsq":  # through the bound, not around it
        slopes = jax.vmap(jax.jacobian(lambda x: fsq.bound(x, spec["levels"])))(z)
        expected = weights * jnp.diagonal(slopes, axis1=1, axis2=2) / fsq.halves(spec["levels"])
        assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    else:
        assert_array_equal(gradient, weights)


@pytest.mark.parametrize("levels", [(8, 8, 8, 8, 8, 8), (8, 5, 5, 5), (2, 3), (7,)])
def test_fsq_has_exactly_its_levels(levels):
    z = jnp.linspace(-20, 20, 4001)[:, None] * jnp.ones(len(levels))
    rounded = jnp.round(fsq.bound(z, levels))
    for i, n in enumerate(levels):
        values = np.unique(rounded[:, i])
        assert_array_equal(values, np.arange(n) - n // 2)
    index = fsq.indices(z, levels)
    assert int(index.min()) == 0 and int(index.max()) == np.prod(levels) - 1
    assert_allclose(fsq.codes_from_indices(index, levels), fsq.codes(z, levels), atol=1e-6)


def test_the_documented_examples():
    assert_array_equal(fsq.indices(jnp.array([0.1, -5.0]), (4, 3)), 2)
    assert_array_equal(fsq.weights((8, 5, 5)), [1, 8, 40])
    table, z = jnp.array([[0.0, 0.0], [4.0, 0.0]]), jnp.array([3.0, 1.0])
    assert_allclose(vq.distances(z, table), [10, 2])
    assert_array_equal(vq.codes(z, table), [4, 0])


def test_vq_against_brute_force():
    table, z = (np.asarray(jax.random.normal(jax.random.key(i), (n, 5)), np.float64) for i, n in ((0, 23), (1, 60)))
    squared = ((z[:, None] - table[None]) ** 2).sum(-1)
    chosen = squared.argmin(-1)
    p = np.exp(-0.7 * squared) / np.exp(-0.7 * squared).sum(-1, keepdims=True)
    assert_array_equal(vq.indices(jnp.asarray(z, jnp.float32), jnp.asarray(table, jnp.float32)), chosen)
    entropy = vq.entropy(jnp.asarray(z, jnp.float32), jnp.asarray(table, jnp.float32), 0.7)
    assert_allclose(entropy.per_sample, -(p * np.log(p)).sum(-1).mean(), rtol=1e-5)
    assert_allclose(entropy.of_mean, -(p.mean(0) * np.log(p.mean(0))).sum(), rtol=1e-5)
    for value in (vq.commitment, vq.codebook):
        distance = value(jnp.asarray(z, jnp.float32), jnp.asarray(table, jnp.float32))
        assert_allclose(distance, ((z - table[chosen]) ** 2).mean(), rtol=1e-5)


def test_vq_losses_pull_one_side_each():
    table, z = jax.random.normal(jax.random.key(0), (9, 4)), jax.random.normal(jax.random.key(1), (30, 4))
    by_z, by_table = jax.grad(vq.commitment, (0, 1))(z, table)
    assert float(jnp.abs(by_table).max()) == 0 and float(jnp.abs(by_z).max()) > 0
    by_z, by_table = jax.grad(vq.codebook, (0, 1))(z, table)
    assert float(jnp.abs(by_z).max()) == 0 and float(jnp.abs(by_table).max()) > 0


def test_a_table_trains_and_scalar_quantizers_have_no_parameters():
    assert [bool(jax.tree.leaves(bound(spec)[2])) for spec in SPECS] == [False, False, True]
