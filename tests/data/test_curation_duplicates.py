"""The banded search finds what comparing all with all finds."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videopoet_jax.data import curation_duplicates
from videopoet_jax.data.curation_duplicates import BITS, duplicates


def naive(hashes, distance):
    kept, repeats = {}, {}
    for item, value in hashes.items():
        near = [other for other, earlier in kept.items() if (earlier ^ value).bit_count() <= distance]
        repeats[item] = near[0] if near else None
        if not near:
            kept[item] = value
    return repeats


# Hashes near to a few centres, so that most have neighbours at about the distance asked for.
flips = st.sets(st.integers(0, BITS - 1), max_size=9).map(lambda bits: sum(1 << bit for bit in bits))
centres = st.sampled_from([0, (1 << BITS) - 1, 0x0123456789ABCDEF])
near = st.tuples(centres, flips).map(lambda pair: pair[0] ^ pair[1])
hashes = st.lists(near | st.integers(0, (1 << BITS) - 1), max_size=30)


@settings(max_examples=300, deadline=None)
@given(
    values=hashes,
    distance=st.integers(0, 16) | st.just(BITS - 1),
    few=st.sampled_from([1, 4, 2048]),
    room=st.sampled_from([1, 9, 1 << 21]),
)
def test_as_comparing_all_with_all(values, distance, few, room):
    named = {str(i): value for i, value in enumerate(values)}
    with mock.patch.multiple(curation_duplicates, FEW=few, ROOM=room):
        assert duplicates(named, distance) == naive(named, distance)


def test_what_repeats_something_is_not_repeated():
    assert duplicates({"a": 0b0000, "b": 0b0001, "c": 0b0111}, 2) == {"a": None, "b": "a", "c": None}
    assert duplicates({"c": 0b0111, "b": 0b0001, "a": 0b0000}, 2) == {"c": None, "b": "c", "a": None}


def test_repetitions_are_found_among_a_hundred_thousand():
    values = np.random.default_rng(0).integers(0, 1 << BITS, 100_000, np.uint64).tolist()
    values += [value ^ 0b10101 for value in values[:1000]]
    found = duplicates({str(i): value for i, value in enumerate(values)}, 6)
    assert [found[str(100_000 + i)] for i in range(1000)] == [str(i) for i in range(1000)]


def test_many_that_are_all_alike_take_no_room_for_their_pairs():
    flipped = np.random.default_rng(0).integers(0, BITS, (3, 40_000), np.uint64)
    values = np.bitwise_xor.reduce(np.uint64(1) << flipped).tolist()  # 3 bits of 64 at most: any two differ by 6
    found = duplicates({str(i): value for i, value in enumerate(values)}, 6)
    assert found.pop("0") is None and set(found.values()) == {"0"}


def test_clear_errors():
    with pytest.raises(ValueError, match="distance 64: hashes have 64 bits, 0 to 63 of them may differ; try 6"):
        duplicates({}, 64)
    with pytest.raises(ValueError, match="the hash 0x10000000000000000 of a: 64 bits are compared"):
        duplicates({"a": 1 << 64}, 3)
