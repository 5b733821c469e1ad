"""Pieces of any lengths become chunks of one."""

import numpy as np
import pytest

from videopoet_jax.layers.pieces import deal


def test_deal_on_literal_frames():
    dealt = deal([np.array([0, 1]), np.array([2, 3, 4, 5, 6, 7])], 3, 2)
    assert [list(c) for c in dealt] == [[0, 1, 2], [3, 4], [5, 6], [7]]
    assert list(deal([], 3, 2)) == []


@pytest.mark.parametrize("lengths", [(13,), (1,) * 13, (3, 0, 10), (5, 8)])
@pytest.mark.parametrize(("first", "then"), [(5, 4), (4, 4), (1, 13), (20, 1)])
def test_chunks_do_not_depend_on_the_pieces(lengths, first, then):
    items = np.arange(26).reshape(13, 2)
    chunks = list(deal(np.split(items, np.cumsum(lengths)[:-1]), first, then))
    assert np.array_equal(np.concatenate(chunks), items)
    sizes = [len(chunk) for chunk in chunks]
    assert sizes == [first, *[then] * len(sizes)][: len(sizes) - 1] + sizes[-1:] and 0 < sizes[-1] <= max(first, then)


def test_pieces_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"a piece \[1, 32, 3\] after \[16, 3\] an item: all .* of one size"):
        list(deal(iter([np.zeros((5, 16, 3)), np.zeros((1, 32, 3))]), 3, 2))
