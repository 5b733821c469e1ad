"""Rows that several sequences share: few, evenly mixed, each made from its number alone."""

import collections
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.optimize import linprog

from videopoet_jax.data.grouping import Kind
from videopoet_jax.data.packing import SLACK, PackedRows, pack, packed_row, spread

DOCUMENTED = [Kind(100, 4), Kind(104, 2), Kind(327, 2)]
KINDS = st.lists(st.builds(Kind, st.integers(5, 60), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=6)


def counted(turn):
    return collections.Counter(itertools.chain(*turn))


def test_the_example_of_the_docstring():
    turn = pack(DOCUMENTED, 431, turn=8)
    assert turn == [(0, 2), (0, 2), (1, 1, 0, 0)]
    assert 3 * 431 - sum(DOCUMENTED[kind].length for row in turn for kind in row) == 31


@settings(max_examples=100, deadline=None)
@given(KINDS, st.integers(0, 90), st.integers(20, 300))
def test_rows_hold_their_sequences_at_their_rates(kinds, room, count):
    length = max(kind.length for kind in kinds) + room
    turn = pack(kinds, length, count)
    counts, total = counted(turn), sum(kind.rate for kind in kinds)
    assert all(abs(counts[i] - count * kind.rate / total) <= 0.5 for i, kind in enumerate(kinds))
    assert all(sum(kinds[i].length for i in row) <= length for row in turn)
    mean = sum(kinds[i].length * n for i, n in counts.items()) / sum(counts.values())
    assert max(map(len, turn)) <= np.ceil(length / mean - 1e-9) + 1


@settings(max_examples=40, deadline=None)
@given(KINDS, st.integers(0, 40))
def test_hardly_more_rows_than_the_fewest(kinds, room):
    """Against a linear program over every row that there is."""
    length, lengths = max(kind.length for kind in kinds) + room, [kind.length for kind in kinds]
    counts = counted(turn := pack(kinds, length, 2_000))
    mean = sum(lengths[i] * n for i, n in counts.items()) / sum(counts.values())
    most = int(np.ceil(length / mean - 1e-9)) + 1
    possible = [
        row
        for size in range(1, most + 1)
        for row in itertools.combinations_with_replacement(range(len(kinds)), size)
        if sum(lengths[i] for i in row) <= length
    ]
    held = np.stack([np.bincount(row, minlength=len(kinds)) for row in possible], axis=1)
    least = linprog(np.ones(len(possible)), A_eq=held, b_eq=[counts[i] for i in range(len(kinds))]).fun
    assert least <= len(turn) + 1e-6 and len(turn) <= (1 + SLACK) * least + len(set(lengths))


def test_a_rare_kind_is_not_lost():
    turn = pack([Kind(10, 1.0), Kind(20, 1e-9)], 20, 100)
    assert counted(turn) == {0: 100, 1: 1} and (1,) in turn


def test_a_turn_is_spread_evenly():
    assert spread([3, 1]) == [0, 0, 1, 0]
    order = np.array(spread([500, 300, 30, 1, 1, 1]))
    for start in range(0, 833 - 100, 50):
        window = np.bincount(order[start : start + 100], minlength=6)
        assert np.all(np.abs(window - 100 * np.array([500, 300, 30, 1, 1, 1]) / 833) < 3)
    turn = pack(DOCUMENTED, 431, turn=800)
    share = [counted(turn[:n])[2] / sum(counted(turn[:n]).values()) for n in (30, 100, 250)]
    assert share == pytest.approx([0.25] * 3, abs=0.01)


def test_a_row_must_hold_the_longest():
    with pytest.raises(ValueError, match="data.packing 326: the longest sequence has 327 tokens, .*packing=327, or 0"):
        pack(DOCUMENTED, 326)


def test_a_turn_is_the_same_in_every_process():
    kinds = "[Kind(17 + 5 * i % 40, 1 + i % 3) for i in range(25)]"
    code = f"from videopoet_jax.data.packing import Kind, pack; print(pack({kinds}, 90))"
    outs = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True).stdout
        for seed in "12"
    }  # fmt: skip
    assert len(outs) == 1


def example(kind, number, length):
    rng = np.random.default_rng((kind, number))
    return {
        "ids": rng.integers(1, 99, length).astype(np.int32), "table": np.ones(length, np.int32),
        "positions": rng.integers(0, 9, (length, 4)).astype(np.int32), "weights": np.ones(length, np.float32),
        "valid": np.ones(length, bool), "prefix_length": np.int32(length - 1), "text_ids": np.array([kind, number]),
        "text_mask": np.array([True, False]), "example": np.int32(number), "stream": np.int32(kind),
    }  # fmt: skip


def test_the_row_of_the_docstring():
    row = packed_row([example(1, 4, 3), example(2, 5, 2)], 6, 3)
    assert row["segment"].tolist() == [1, 1, 1, 2, 2, 0]
    assert row["prefix_length"].tolist() == [2, 2, 2, 4, 4, 0]
    assert row["text_ids"].tolist() == [[1, 4], [2, 5], [0, 0]]
    assert row["example"].tolist() == [4, 5, -1] and row["stream"].tolist() == [1, 2, -1]
    for name in ("ids", "positions", "weights", "valid"):
        assert_array_equal(row[name][:3], example(1, 4, 3)[name])
        assert_array_equal(row[name][3:5], example(2, 5, 2)[name])
        assert not row[name][5:].any()


def test_every_example_comes_once_and_in_order_whatever_row_is_asked_for_first():
    turn = pack(DOCUMENTED, 431, turn=16)
    streams = [[example(kind, i, DOCUMENTED[kind].length) for i in range(40)] for kind in range(3)]
    rows = PackedRows(turn, 431, streams)
    counts = counted(turn)
    assert len(rows) == min(40 // counts[kind] for kind in range(3)) * len(turn)
    backwards = [rows[i] for i in reversed(range(len(rows)))][::-1]
    for kind in range(3):
        found = [n for row in backwards for s, n in zip(row["stream"], row["example"], strict=True) if s == kind]
        assert found == list(range(len(found))) and len(found) == counts[kind] * len(rows) // len(turn)
