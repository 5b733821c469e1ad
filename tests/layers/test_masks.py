"""The prefix mask against a matrix written out; sequences that share a row do not see each other."""

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from videopoet_jax.layers.masks import prefix_visible


def test_literal_matrix():
    mask = prefix_visible(jnp.array([[2], [2]]), jnp.array([[True] * 4, [True, False, True, True]]), 0, 4).dense()
    whole = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    padded = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert_array_equal(mask, np.array([whole, padded], bool))


def test_each_row_has_its_own_prefix():
    valid = jnp.ones((3, 5), bool)
    mask = prefix_visible(jnp.array([[0], [3], [5]]), valid, 0, 5).dense()
    assert_array_equal(mask[0], np.tril(np.ones((5, 5), bool)))
    assert_array_equal(mask[1], np.arange(5) < np.maximum(3, np.arange(5) + 1)[:, None])
    assert mask[2].all()


def test_a_stretch_is_rows_of_the_whole():
    valid = jnp.array([[True, True, False, True, True, True]])
    whole = prefix_visible(jnp.array([[3]]), valid, 0, 6).dense()
    for start in range(6):
        row = prefix_visible(jnp.array([[3]]), valid, jnp.int32(start), 1).dense()[0]
        assert_array_equal(row, whole[0, start : start + 1])


def test_sequences_that_share_a_row_do_not_see_each_other():
    prefix_length = jnp.array([[1, 1, 4, 4, 0]])  # ends of the prefixes, counted from the row's start
    valid, segment = jnp.array([[True] * 4 + [False]]), jnp.array([[1, 1, 2, 2, 0]])
    mask = prefix_visible(prefix_length, valid, 0, 5, segment).dense()
    assert_array_equal(mask[0, :4, :4], np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], bool))
    assert not mask[0, 4].any() and not mask[0, :, 4].any()
