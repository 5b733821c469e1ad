"""Groups of neighbouring lengths: optimal against every partition, and the tokens of a step."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videopoet_jax.data.grouping import Group, Kind, group, rows


def padding(kinds, groups):
    """Of what a run computes: a step has as many tokens whichever group it draws."""
    return sum(kinds[i].rate * (1 - kinds[i].length / g.length) for g in groups for i in g.kinds)


def test_the_example_of_the_docstring():
    kinds = [Kind(327, 1), Kind(100, 1), Kind(104, 2)]
    assert group(kinds, 2) == [Group(104, (1, 2), 3), Group(327, (0,), 1)]
    assert [rows(1308, g.length, 4) for g in group(kinds, 2)] == [12, 4]
    assert group(kinds, 9) == [Group(100, (1,), 1), Group(104, (2,), 2), Group(327, (0,), 1)]
    assert group(kinds, 1) == [Group(327, (1, 2, 0), 4)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.builds(Kind, st.integers(1, 60), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=7),
    st.integers(1, 5),
)
def test_no_partition_pads_less(kinds, most):
    groups = group(kinds, most)
    assert sorted(i for g in groups for i in g.kinds) == list(range(len(kinds)))
    assert len(groups) <= most and [g.length for g in groups] == sorted({g.length for g in groups})
    assert all(g.length == max(kinds[i].length for i in g.kinds) for g in groups)
    lengths = sorted({k.length for k in kinds})
    least = min(
        sum(k.rate * (1 - k.length / min(top for top in tops if top >= k.length)) for k in kinds)
        for size in range(1, min(most, len(lengths)) + 1)
        for tops in itertools.combinations(lengths, size)
        if tops[-1] == lengths[-1]
    )
    assert padding(kinds, groups) == pytest.approx(least, abs=1e-9)


def test_a_step_has_its_tokens():
    assert rows(262_144, 1_779, 8) == 144  # 256,176 of them: one multiple of rows is missing at most
    with pytest.raises(ValueError, match="10,000 tokens a step: 8 rows of 1,779 need 14,232; raise data.tokens"):
        rows(10_000, 1_779, 8)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="0 kinds in 2 groups"):
        group([], 2)
    with pytest.raises(ValueError, match="1 kinds in 1 groups: at least one of each is needed, and rates above 0"):
        group([Kind(3, 0.0)], 1)
