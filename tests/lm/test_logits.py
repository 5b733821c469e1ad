"""Logits and their derivative: whose operands have which dtype, and that it is the derivative."""

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.lm.logits import PADDING, score


def drawn(dtype, key=0):
    keys = jax.random.split(jax.random.key(key), 3)
    x = jax.random.normal(keys[0], (2, 3, 8)).astype(dtype)
    return x, jax.random.normal(keys[1], (16, 8)), jax.random.normal(keys[2], (2, 3, 16))


def slopes(x, table, weights):
    return jax.grad(lambda x, table: jnp.sum(jax.nn.log_softmax(score(x, table, 12)) * weights), argnums=(0, 1))(
        x, table
    )


def plain_slopes(x, table, weights):
    def loss(x, table):
        logits = jnp.einsum("bnd,vd->bnv", x.astype(jnp.float32), table)
        return jnp.sum(jax.nn.log_softmax(jnp.where(jnp.arange(16) < 12, logits, PADDING)) * weights)

    return jax.grad(loss, argnums=(0, 1))(x, table)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 0.03)])
def test_the_derivative_is_that_of_the_product(dtype, tolerance):
    x, table, weights = drawn(dtype)
    weights = weights.at[..., 12:].set(0.0)
    mine, plain = slopes(x, table, weights), plain_slopes(x, table, weights)
    assert (mine[0].dtype, mine[1].dtype) == (dtype, "float32")
    for a, b in zip(mine, plain, strict=True):
        assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=tolerance, atol=tolerance)
    assert not mine[1][12:].any()  # padding rows learn nothing


def test_products_are_of_the_dtype_of_the_computation_there_and_back():
    """A float32 operand would make the product one of float32."""
    text = jax.jit(slopes).lower(*drawn("bfloat16")).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3
    for line in products:
        assert line.split(":")[-1].split("->")[0].count("bf16") == 2
