"""A shuffle is one to one for every length, differs between keys, and favours no place."""

import numpy as np
import pytest

from videopoet_jax.data.shuffle import shuffled


def order(count, key):
    return [shuffled(place, count, key) for place in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000])
def test_every_number_comes_once(count):
    for key in range(3):
        assert sorted(order(count, key)) == list(range(count))


def test_keys_give_different_orders():
    assert len({tuple(order(20, key)) for key in range(200)}) == 200


def test_every_number_is_as_likely_at_every_place():
    counts = np.zeros((12, 12))
    for key in range(1200):
        counts[range(12), order(12, key)] += 1
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert chi_square < 121 + 5 * np.sqrt(2 * 121)  # 121 degrees of freedom, five sigma


def test_neighbours_do_not_stay_neighbours():
    steps = np.diff(order(1000, key=1))
    assert np.mean(np.abs(steps) < 10) < 0.04  # about 0.018 by chance


def test_long_orders_need_no_table():
    assert 0 <= shuffled(123456789, 270_000_000, 7) < 270_000_000


def test_the_order_is_the_same_in_every_version():
    assert order(8, key=0) == [4, 2, 7, 6, 1, 3, 5, 0]
