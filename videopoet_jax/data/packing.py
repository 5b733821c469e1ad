"""Packing: several sequences share a row, of one length for the whole run; beside it stand groups (`grouping`).

    kinds   lengths 100 at 4 · 104 at 2 · 327 at 2          rows of 431 tokens, at most 4 sequences
    turn    100 327 · 100 327 · 104 104 100 100             8 sequences in 3 rows, 31 of 1,293 tokens padding

How a turn is filled is found once: rows that hold each kind as often as its rate says, evenly spread. Row n of a run is
row n mod 3 of the turn, with the kinds' next examples, so that any row is made from its number alone, and every example
of a kind comes once before any comes again. A row of kinds 1 and 2 as the model reads it (`packed_row`), 6 tokens:

    ids            <bos> 7 | 3    <bos> | 9   <pad>
    segment          1   1   1      2     2     0         which sequence; what else is one to a token is as it was
    prefix_length    2   2   2      4     4     0         up to where in the row the prefix of the token's own goes
    text_ids         [[4 1] [5 1] [0 0]]                  one text for each sequence that a row has room for
"""

import collections
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from videopoet_jax.data.grouping import Kind
from videopoet_jax.data.loader import Example, Source

Row = tuple[int, ...]  # numbers of kinds, or of lengths
TURN = 65_536  # ours: sequences of a turn, about; each kind's count is its share of them to within a half
SLACK = 1e-3  # ours: a turn has at most this share of rows more than the fewest, but for what rounding leaves over
GOLDEN = (5**0.5 - 1) / 2


def pack(kinds: Sequence[Kind], length: int, turn: int = TURN) -> list[Row]:
    """The rows of a turn of `turn` sequences or so, each its kinds; a kind of too small a rate comes once.

    A row has at most one sequence more than would fill it on the average: the text encoder reads as many texts for
    every row.

    Raises:
        ValueError: a sequence that is longer than a row.
    """
    longest = max(kind.length for kind in kinds)
    if length < longest:
        raise ValueError(
            f"data.packing {length:,}: the longest sequence has {longest:,} tokens, and a row must hold it; "
            f"--set data.packing={longest}, or 0 for rows of one sequence each."
        )
    total = sum(kind.rate for kind in kinds)
    counts = [max(1, round(turn * kind.rate / total)) for kind in kinds]
    lengths = sorted({kind.length for kind in kinds})
    members = [[i for i, kind in enumerate(kinds) if kind.length == n] for n in lengths]
    wanted = np.array([sum(counts[i] for i in same) for same in members])
    most = -int(-length * wanted.sum() // (wanted @ lengths)) + 1
    rows = _fewest_rows(lengths, wanted, length, most)
    queues = [iter([same[which] for which in spread([counts[i] for i in same])]) for same in members]
    found = list(rows)
    return [tuple(next(queues[number]) for number in found[which]) for which in spread(list(rows.values()))]


def spread(counts: Sequence[int]) -> list[int]:
    """As many of each number, evenly, and rare ones not all in the middle: `3, 1 → 0 0 1 0`"""
    places = [((i + which * GOLDEN % 1) / count, which) for which, count in enumerate(counts) for i in range(count)]
    return [which for _, which in sorted(places)]


def _fewest_rows(lengths: Sequence[int], wanted: Int[np.ndarray, " k"], length: int, most: int) -> dict[Row, int]:
    """Rows and how often each, that together hold as many sequences of each length as wanted.

    Column generation (Gilmore & Gomory 1961): a linear program mixes the rows known so far and says what a sequence of
    each length is worth, in rows; rows worth more than one join, until there are none. Whole numbers of the mixed rows
    are taken; what is left over, less than one of each, goes into the fullest row that has room for it, long ones
    first.
    """
    from scipy.optimize import linprog  # a second to import

    rows = [(number,) * min(most, length // n) for number, n in enumerate(lengths)]
    while True:
        held = np.stack([np.bincount(row, minlength=len(lengths)) for row in rows], axis=1)
        mixed = linprog(np.ones(len(rows)), A_eq=held, b_eq=wanted, method="highs")
        worth = mixed.eqlin.marginals
        known = set(rows)
        better = {row for row in _worthiest(worth, lengths, length, most) if worth[list(row)].sum() > 1 + SLACK} - known
        if not better:
            break
        rows += sorted(better)
    often = np.floor(mixed.x + 1e-6).astype(int)
    found = collections.Counter({row: int(count) for row, count in zip(rows, often, strict=True) if count})
    left, begun = wanted - held @ often, []

    def tokens(row: list[int]) -> int:
        return sum(lengths[number] for number in row)

    for number in reversed(range(len(lengths))):
        for _ in range(left[number]):
            room = [row for row in begun if len(row) < most and tokens(row) + lengths[number] <= length]
            if not room:
                begun.append([])
            max(room or begun[-1:], key=tokens).append(number)
    return found + collections.Counter(map(tuple, begun))


def _worthiest(worth: Float[np.ndarray, " k"], lengths: Sequence[int], length: int, most: int) -> Iterator[Row]:
    """For each length the row worth most that holds one, of at most `most` sequences: a knapsack for each number."""
    best, last = np.zeros(length + 1), []  # best[n]: the worth of sequences of n tokens in all; last: one of them
    for _ in range(most - 1):
        more, chosen = best.copy(), np.full(length + 1, -1)
        for number, n in enumerate(lengths):
            value = best[: length + 1 - n] + worth[number]
            gains = value > more[n:]
            np.copyto(more[n:], value, where=gains)
            np.copyto(chosen[n:], number, where=gains)
        best = more
        last.append(chosen)
    for number, n in enumerate(lengths):
        row, room = [number], length - n
        for chosen in reversed(last):
            if chosen[room] >= 0:
                row.append(int(chosen[room]))
                room -= lengths[chosen[room]]
        yield tuple(sorted(row))


class PackedRows:
    """The rows of all turns, by number.

    Args:
        turn: of `pack`.
        length: tokens of a row.
        streams: examples of each kind, by number.
    """

    def __init__(self, turn: Sequence[Row], length: int, streams: Sequence[Source]) -> None:
        self._length, self._streams, self._texts = length, streams, max(map(len, turn))
        self._count: collections.Counter[int] = collections.Counter()
        self._turn = []  # each row's (kind, how many of it came before in the turn)
        for row in turn:
            places = []
            for kind in row:
                places.append((kind, self._count[kind]))
                self._count[kind] += 1
            self._turn.append(places)

    def __len__(self) -> int:
        turns = min(len(self._streams[kind]) // count for kind, count in self._count.items())
        return min(sys.maxsize, turns * len(self._turn))

    def __getitem__(self, number: int) -> Example:
        turn, place = divmod(number, len(self._turn))
        examples = [self._streams[kind][turn * self._count[kind] + nth] for kind, nth in self._turn[place]]
        return packed_row(examples, self._length, self._texts)


def packed_row(examples: Sequence[Example], length: int, texts: int) -> Example:
    """Examples of `sequence.assemble` one behind the other, in a row of `length` tokens with room for `texts` of them.

    `example` and `stream` say which they are, −1 where there is none.
    """
    lengths = [len(example["ids"]) for example in examples]
    first, row = np.cumsum([0, *lengths[:-1]]), {}
    prefixes = first + [example["prefix_length"] for example in examples]
    for name in ("ids", "table", "positions", "weights", "valid"):
        row[name] = padded(np.concatenate([example[name] for example in examples]), length)
    row["segment"] = padded(np.repeat(np.arange(1, len(examples) + 1, dtype=np.int32), lengths), length)
    row["prefix_length"] = padded(np.repeat(prefixes.astype(np.int32), lengths), length)
    for name in examples[0]:
        if name not in row:
            values = np.stack([example[name] for example in examples])
            row[name] = padded(values, texts, -1 if name in ("example", "stream") else 0)
    return row


def padded(values: np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    """`fill` behind; 0 is `<pad>`, of no weight, that may not be seen."""
    out = np.full((length, *values.shape[1:]), fill, values.dtype)  # `np.pad` took half of an example's time
    out[: len(values)] = values
    return out
