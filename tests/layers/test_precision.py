"""Half precision is for networks; a table of codes stays exact."""

import jax.numpy as jnp
import numpy as np

from videopoet_jax.layers.precision import cast_network


def test_a_table_of_codes_is_not_rounded_with_the_network():
    params = {"encoder": {"kernel": jnp.array([1.001])}, "codes": {"codebook": np.array([1.001], np.float32)}}
    cast = cast_network(params, jnp.bfloat16)
    assert cast["encoder"]["kernel"].dtype == jnp.bfloat16
    assert cast["codes"]["codebook"].dtype == jnp.float32 and cast["codes"]["codebook"] == params["codes"]["codebook"]
