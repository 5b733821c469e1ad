"""Alternating gradient descent over groups of equal length (AGD, Akbari et al. 2023): hardly any padding.

Every kind of example of a mixture has one length. Kinds of neighbouring lengths share a group, whose batches all have
one shape; a step draws one group, as often as the rates of its kinds add up to, and holds so many rows that the tokens
of a step stay the same:

    kinds    lengths 100 at 1 · 104 at 2 · 327 at 1     at most 2 groups, 1,308 tokens a step
    groups   104 ← 100 104, three steps of four, 12 rows · 327, every fourth step, 4 rows

[VP] does the same. How many shapes are compiled is ours to bound: each costs minutes on a pod.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """Examples of one layout: their length in tokens, and their rate in the mixture, relative to the others'."""

    length: int
    rate: float


class Group(NamedTuple):
    """Kinds (their numbers) whose rows are padded to `length`, and the sum of their rates."""

    length: int
    kinds: tuple[int, ...]
    rate: float


def group(kinds: Sequence[Kind], most: int) -> list[Group]:
    """The groups, at most so many, that pad least; short ones first.

    Exact: by dynamic programming over the kinds in order of their length.

    Raises:
        ValueError: no kind, a rate that is not above 0, or fewer than one group.
    """
    if not kinds or most < 1 or any(kind.rate <= 0 for kind in kinds):
        raise ValueError(f"{len(kinds)} kinds in {most} groups: at least one of each is needed, and rates above 0.")
    order = sorted(range(len(kinds)), key=lambda i: kinds[i].length)
    lengths = sorted({kind.length for kind in kinds})
    rates = [sum(k.rate for k in kinds if k.length == length) for length in lengths]
    count = len(lengths)

    def padded(first: int, last: int) -> float:
        """The share of padding in one group of these lengths, by its rate."""
        return sum(r * (1 - n / lengths[last]) for n, r in zip(lengths[first:], rates[first : last + 1], strict=False))

    pads = [[padded(first, last) for first in range(last + 1)] for last in range(count)]
    # best[g][n]: the least padding of the first n lengths in g groups, and where the last of these begins.
    best = [[(0.0, 0)] + [(float("inf"), 0)] * count]
    for _ in range(min(most, count)):
        row = [(0.0, 0)]
        for end in range(1, count + 1):
            row.append(min((best[-1][first][0] + pad, first) for first, pad in enumerate(pads[end - 1])))
        best.append(row)
    cuts, end = [], count
    for row in reversed(best[1:]):
        if end:
            cuts.append((row[end][1], end))
            end = row[end][1]
    groups = []
    for first, end in reversed(cuts):
        members = tuple(i for i in order if lengths[first] <= kinds[i].length <= lengths[end - 1])
        groups.append(Group(lengths[end - 1], members, sum(kinds[i].rate for i in members)))
    return groups


def stretched(length: int, parts: int) -> int:
    """The length of rows that as many devices share, each an equal stretch: `268916, 16 → 268928`"""
    return -(-length // parts) * parts


def rows(tokens: int, length: int, multiple: int) -> int:
    """Rows of a batch of so many tokens, a multiple of what the devices share: `1308, 104, 4 → 12`

    Raises:
        ValueError: not even `multiple` rows have so few tokens.
    """
    if tokens < multiple * length:
        raise ValueError(
            f"{tokens:,} tokens a step: {multiple} rows of {length:,} need {multiple * length:,}; raise data.tokens."
        )
    return tokens // length // multiple * multiple
