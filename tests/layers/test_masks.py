"""The prefix mask against a matrix written out."""

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from videopoet_jax.layers.masks import prefix_mask


def test_literal_matrix():
    mask = prefix_mask(jnp.array([[2], [2]]), jnp.array([[True] * 4, [True, False, True, True]]), 0, 4)
    whole = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    padded = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert_array_equal(mask, np.array([whole, padded], bool))


def test_each_row_has_its_own_prefix():
    valid = jnp.ones((3, 5), bool)
    mask = prefix_mask(jnp.array([[0], [3], [5]]), valid, 0, 5)
    assert_array_equal(mask[0], np.tril(np.ones((5, 5), bool)))
    assert_array_equal(mask[1], np.arange(5) < np.maximum(3, np.arange(5) + 1)[:, None])
    assert mask[2].all()


def test_a_stretch_is_rows_of_the_whole():
    valid = jnp.array([[True, True, False, True, True, True]])
    whole = prefix_mask(jnp.array([[3]]), valid, 0, 6)
    for start in range(6):
        assert_array_equal(prefix_mask(jnp.array([[3]]), valid, jnp.int32(start), 1)[0], whole[0, start : start + 1])
