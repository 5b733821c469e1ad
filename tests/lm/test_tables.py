"""Factors of a code, and rows of the tables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.lm.tables import InputTables, factor_codes, join_factors, special_text_rows, split_factors
from videopoet_jax.sequence.vocabulary import Vocabulary


@pytest.mark.parametrize("codes, factors, each", [(2**18, 1, 2**18), (2**18, 2, 512), (2**18, 3, 64), (16, 4, 2)])
def test_factors_both_ways(codes, factors, each):
    assert factor_codes(codes, factors) == each
    some = jnp.asarray(np.random.default_rng(0).integers(0, codes, 200))
    parts = split_factors(some, each, factors)
    assert parts.shape == (200, factors) and int(parts.max()) < each
    assert_array_equal(join_factors(parts, each), some)


def test_high_bits_come_first():
    assert_array_equal(split_factors(jnp.array([0b000000001_000000011]), 512, 2), [[1, 3]])


def test_a_codebook_that_does_not_factor_is_refused():
    with pytest.raises(ValueError, match="need codes\\^factors"):
        factor_codes(2**17, 2)


def test_slopes_of_a_row_that_many_read_add_up_in_float32():
    tables = InputTables(Vocabulary(16, 1, 0), visual_factors=2, width=4, dtype="bfloat16")
    place = jnp.zeros((1024, 1), jnp.int32)
    given = (place + 5, place, place, jnp.zeros((1024, 1, 3)))  # <bos>, say, once in every row
    params = nn.meta.unbox(tables.init(jax.random.key(0), *given))["params"]
    slopes = jax.grad(lambda p: jnp.sum(tables.apply({"params": p}, *given).astype(jnp.float32)))(params)
    assert_array_equal(slopes["special_text"][5], np.full(4, 1024.0))


def test_rows_of_special_and_text_ids():
    assert_array_equal(special_text_rows(jnp.array([0, 255, 266_496, 266_500])), [0, 255, 256, 260])
