"""Near-duplicates: items whose perceptual hashes differ in few bits, found without comparing all with all."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

BITS = 64


def duplicates(hashes: Mapping[str, int], distance: int) -> dict[str, str | None]:
    """For each item, in order, the first earlier item that it repeats, or None: that item is the one to keep.

        {"a": 0b0000, "b": 0b0001, "c": 0b0111}, distance 2  →  {"a": None, "b": "a", "c": None}

    An item repeats another one when at most `distance` of their 64 bits differ. What repeats something is not repeated
    itself: `c` is near to `b`, but `b` is not kept, and nothing that is kept shows what `c` shows.

    Exact. The bits are split into `distance` + 1 bands; of two hashes that differ in no more bits than there are bands
    less one, some band is equal, so only those that share a band are compared (Manku et al. 2007).

    Raises:
        ValueError: a distance below 0 or from 64 on, or a hash of more bits.
    """
    if not 0 <= distance < BITS:
        raise ValueError(f"distance {distance}: hashes have {BITS} bits, 0 to {BITS - 1} of them may differ; try 6.")
    kept: list[tuple[str, int]] = []
    sharing: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # (band, its bits) → places in `kept`
    repeats: dict[str, str | None] = {}
    for item, value in hashes.items():
        if not 0 <= value < 1 << BITS:
            raise ValueError(f"the hash {value:#x} of {item}: {BITS} bits are compared; give perceptual_hash's.")
        keys = list(_bands(value, distance + 1))
        candidates = {place for key in keys for place in sharing.get(key, ())}
        near = [place for place in candidates if (kept[place][1] ^ value).bit_count() <= distance]
        repeats[item] = kept[min(near)][0] if near else None
        if not near:
            for key in keys:
                sharing[key].append(len(kept))
            kept.append((item, value))
    return repeats


def _bands(value: int, count: int) -> Iterator[tuple[int, int]]:
    """(number, bits) of each of so many bands, as wide as one another to a bit.  `64 bits, 7 → 9 9 9 9 9 9 10`"""
    for band in range(count):
        low, high = band * BITS // count, (band + 1) * BITS // count
        yield band, value >> low & (1 << (high - low)) - 1
