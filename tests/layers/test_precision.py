"""Half precision is for networks; a table of codes stays exact."""

import jax
import jax.numpy as jnp
import numpy as np

from videopoet_jax.layers.precision import cast_network, products_in


def test_a_table_of_codes_is_not_rounded_with_the_network():
    params = {"encoder": {"kernel": jnp.array([1.001])}, "codes": {"codebook": np.array([1.001], np.float32)}}
    cast = cast_network(params, jnp.bfloat16)
    assert cast["encoder"]["kernel"].dtype == jnp.bfloat16
    assert cast["codes"]["codebook"].dtype == jnp.float32 and cast["codes"]["codebook"] == params["codes"]["codebook"]


def test_products_are_as_exact_as_the_dtype_that_is_asked_for():
    def traced(dtype):
        with products_in(dtype):
            return str(jax.make_jaxpr(jnp.dot)(jnp.ones((2, 2), dtype), jnp.ones((2, 2), dtype)))

    assert "HIGHEST" in traced(jnp.float32)
    assert "HIGHEST" not in traced(jnp.bfloat16)
