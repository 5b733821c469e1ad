"""Near-duplicates: items whose perceptual hashes differ in few bits, found without comparing all with all.

Exact. The 64 bits are split into `distance` + 2 bands: of two hashes that differ in `distance` bits some two bands are
equal, so only those are compared that share a pair of bands (Manku et al. 2007). Items are settled half by half: the
first half, then what repeats none of it; so pairs are never listed, and room is for items alone, however alike.
"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int, UInt64

BITS = 64
KEY_BITS = 16  # of a pair of bands, at most
FEW = 2048  # items that are compared all with all; ours
ROOM = 1 << 21  # comparisons in memory at once; ours
_FINE = 14  # distance beyond which bands are so narrow that all share some: ours


def duplicates(hashes: Mapping[str, int], distance: int) -> dict[str, str | None]:
    """For each item, in order, the first earlier item that it repeats, or None: that item is the one to keep.

        {"a": 0b0000, "b": 0b0001, "c": 0b0111}, distance 2  →  {"a": None, "b": "a", "c": None}

    An item repeats another one when at most `distance` of their 64 bits differ. What repeats something is not repeated
    itself: `c` is near to `b`, but `b` is not kept, and nothing that is kept shows what `c` shows.

    Raises:
        ValueError: a distance below 0 or from 64 on, or a hash of more bits.
    """
    if not 0 <= distance < BITS:
        raise ValueError(f"distance {distance}: hashes have {BITS} bits, 0 to {BITS - 1} of them may differ; try 6.")
    for item, value in hashes.items():
        if not 0 <= value < 1 << BITS:
            raise ValueError(f"the hash {value:#x} of {item}: {BITS} bits are compared; give perceptual_hash's.")
    names, values = list(hashes), np.fromiter(hashes.values(), np.uint64, len(hashes))
    _, first, equal = np.unique(values, return_index=True, return_inverse=True)
    repeats = np.full(len(values), -1)
    _settle(values, np.sort(first), distance, repeats)
    shown = np.where(repeats[first] < 0, first, repeats[first])[equal]  # what is equal repeats the same
    return {name: None if place == by else names[by] for place, (name, by) in enumerate(zip(names, shown, strict=True))}


def _settle(
    values: UInt64[np.ndarray, " n"], places: Int[np.ndarray, " m"], distance: int, repeats: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " k"]:
    """Writes into `repeats`, where it is -1, what each of the places repeats; returns those that repeat nothing."""
    if len(places) <= FEW:
        here = values[places]
        near = np.triu(np.bitwise_count(here[:, None] ^ here) <= distance, 1)
        for row in np.flatnonzero(near.any(1)):
            if repeats[places[row]] < 0:
                found = places[near[row]]
                repeats[found[repeats[found] < 0]] = places[row]
        return places[repeats[places] < 0]
    half = len(places) // 2
    kept, rest = _settle(values, places[:half], distance, repeats), places[half:]
    nearest = _first_near(values[kept], values[rest], distance)
    repeats[rest] = np.where(nearest < 0, -1, kept[nearest])
    return np.concatenate([kept, _settle(values, rest[nearest < 0], distance, repeats)])


def _first_near(
    kept: UInt64[np.ndarray, " n"], others: UInt64[np.ndarray, " m"], distance: int
) -> Int[np.ndarray, " m"]:
    """For each of the others the first of `kept` that is near to it, or -1."""
    first = np.full(len(others), len(kept))
    for keys, wanted in zip(_keys(kept, distance), _keys(others, distance), strict=True):
        order = np.argsort(keys, kind="stable")
        ends = np.cumsum(np.bincount(keys, minlength=1 << KEY_BITS))
        counts = np.diff(ends, prepend=0)[wanted]  # of `kept` that have the same key: a stretch of `order`
        before = np.cumsum(counts) - counts
        ordered, starts = kept[order], ends[wanted] - counts - before
        for part in _parts(before, counts):
            other = np.repeat(np.arange(part.start, part.stop), counts[part])
            place = np.repeat(starts[part], counts[part]) + np.arange(len(other)) + before[part.start]
            near = np.bitwise_count(ordered[place] ^ others[other]) <= distance
            np.minimum.at(first, other[near], order[place[near]])
    return np.where(first < len(kept), first, -1)


def _parts(before: Int[np.ndarray, " m"], counts: Int[np.ndarray, " m"]) -> Iterator[slice]:
    """Stretches that together have `ROOM` comparisons, or are one item.  `room 4: counts 3 1 2 9 → 0:2 2:3 3:4`"""
    start = 0
    while start < len(counts):
        stop = int(np.searchsorted(before + counts, before[start] + ROOM, side="right"))
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


def _keys(values: UInt64[np.ndarray, " n"], distance: int) -> Iterator[Int[np.ndarray, " n"]]:
    """The bits of each pair of bands, the last `KEY_BITS` of them.  `distance 6 → 8 bands of 8 bits, 28 pairs`"""
    if distance > _FINE:
        yield np.zeros(len(values), int)
        return
    ends = [band * BITS // (distance + 2) for band in range(distance + 3)]
    bands = [(low, high - low) for low, high in itertools.pairwise(ends)]
    for pair in itertools.combinations(bands, 2):
        one, other = (values >> np.uint64(low) & np.uint64((1 << width) - 1) for low, width in pair)
        yield ((one << np.uint64(pair[1][1]) | other) & np.uint64((1 << KEY_BITS) - 1)).astype(int)
