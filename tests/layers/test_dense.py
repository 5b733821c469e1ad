"""One product, whichever way it is taken."""

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.layers.dense import project
from videopoet_jax.layers.mlp import GatedMLP, gated
from videopoet_jax.layers.norms import rms_norm
from videopoet_jax.parallel.mesh import make_mesh


@pytest.mark.parametrize("devices", [1, 8])
def test_merged_dimensions_give_the_einsum(devices):
    x = jax.random.normal(jax.random.key(0), (8, 3, 4, 5))
    out = jax.random.normal(jax.random.key(1), (4, 5, 6))
    spread = jax.random.normal(jax.random.key(2), (6, 2, 3))
    with jax.set_mesh(make_mesh(jax.devices()[:devices])):
        y = jax.jit(lambda x: project(x, out, 2))(x)
        z = jax.jit(lambda y: project(y, spread, 1))(y)
    expected = jnp.einsum("bnme,med->bnd", x, out)
    assert_allclose(y, expected, atol=1e-5)
    assert_allclose(z, jnp.einsum("bnd,dme->bnme", expected, spread), atol=1e-4)


@pytest.mark.parametrize(("activation", "formula"), [
    ("silu", lambda x: x / (1 + jnp.exp(-x))),
    ("gelu_tanh", lambda x: 0.5 * x * (1 + jnp.tanh((2 / jnp.pi) ** 0.5 * (x + 0.044715 * x**3)))),
])  # fmt: skip
def test_the_gated_layer_is_its_formula_and_the_module_owns_its_matrices(activation, formula):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    module = GatedMLP(hidden=6, activation=activation, output_scale=1.0, dtype="float32")
    boxed = module.init(jax.random.key(1), x)["params"]
    assert boxed["gate"].names == ("embed", "mlp") and boxed["down"].names == ("mlp", "embed")
    gate, up, down = (boxed[name].value for name in ("gate", "up", "down"))
    expected = (formula(x @ gate) * (x @ up)) @ down
    assert_allclose(gated(x, gate, up, down, activation), expected, atol=1e-5)
    assert_allclose(module.apply({"params": {"gate": gate, "up": up, "down": down}}, x), expected, atol=1e-5)


def test_rms_norm_has_unit_mean_square_in_float32():
    x = jax.random.normal(jax.random.key(0), (5, 64)) * 300
    y = rms_norm(x.astype(jnp.bfloat16), jnp.ones(64), 1e-6)
    assert y.dtype == jnp.bfloat16
    assert_allclose(jnp.mean(jnp.square(y.astype(jnp.float32)), axis=-1), 1.0, atol=0.02)
