"""How much of a training step is padding: groups of equal length, packing (ours, SeqIO's), rows as long as the longest?

    python tests/benchmarks/padding.py [STEPS [PACKED]]          # needs the extra `data`; minutes

Pictures and clips of 17 and 41 frames, square and portrait, half of them silent, captions of 1 to 64 pieces: the
paper's shapes. Groups of three mixtures; and beside the first of them, all tasks equally often, what sees the same
stream of sequences: both packings fill rows as long as the longest, SeqIO's with PACKED of the sequences, shuffled, as
they come, ours (`data.packing`) in a turn that has each length as often as the stream has. Prints a JSON line {name,
padding, rows, sequences} for each, and one for text slots that stay empty, which no way of batching takes away.
"""

import itertools
import json
import sys
from collections.abc import Iterator

import numpy as np

from videopoet_jax.data import grouping
from videopoet_jax.data.loader import Part, Stream, mixture
from videopoet_jax.data.packing import pack
from videopoet_jax.data.task_batches import kinds_of
from videopoet_jax.data.views import VIEWS
from videopoet_jax.sequence import Layouts, Vocabulary, get_mixture

LAYOUTS = Layouts(Vocabulary(2**18, 4, 32_128), 8, 4, "levels", "video", (16, 32, 64))
LATENTS = np.array([(1, 16, 16), (5, 16, 16), (5, 28, 16), (11, 16, 16), (11, 28, 16)])
SOUND = {1: 0, 5: 106, 11: 256}  # frames of sound
RECORDS, GROUPS, TOKENS = 4_000, 24, 262_144
MIXTURES = ("evenly", "clips_then", "pictures_first")


def records() -> np.ndarray:
    """An index (`token_records.FIELDS`) of records of every size."""
    rng = np.random.default_rng(0)
    sizes = LATENTS[rng.integers(0, len(LATENTS), RECORDS)]
    sound = np.array([SOUND[latents] for latents in sizes[:, 0]]) * rng.integers(0, 2, RECORDS)
    return np.column_stack([sizes, sound, rng.integers(1, 65, RECORDS)]).astype(np.int32)


class Lengths:
    """A kind's examples: their lengths and what of their text slots is empty, and nothing else."""

    def __init__(self, kind, pieces: np.ndarray) -> None:
        text = kind.layout.text_length if kind.layout.task.text else 0
        self._length, self._empty = kind.layout.length, np.maximum(0, text - pieces[kind.records])

    def __len__(self) -> int:
        return len(self._empty)

    def __getitem__(self, number: int) -> dict[str, np.int64]:
        return {"length": np.int64(self._length), "empty": np.int64(self._empty[number])}


def schedule(
    name: str, steps: int, *, most: int = GROUPS, tokens: int = TOKENS, multiple: int = 8
) -> Iterator[tuple[int, np.ndarray, int]]:
    """(length of the group's rows, lengths of its sequences, empty text slots) of each step of a mixture."""
    index = records()
    kinds = kinds_of(index, list(VIEWS), get_mixture(name), LAYOUTS)
    groups = grouping.group([grouping.Kind(k.layout.length, k.rate) for k in kinds], most)
    parts = [
        Part([Stream(Lengths(kinds[i], index[:, 4]), kinds[i].rate) for i in group.kinds], group.rate,
             grouping.rows(tokens, group.length, multiple))
        for group in groups
    ]  # fmt: skip
    for batch in itertools.islice(mixture(parts, seed=0), steps):
        yield groups[batch["part"][0]].length, batch["length"], int(batch["empty"].sum())


def packed(lengths: np.ndarray, longest: int) -> int:
    """Rows that SeqIO makes of sequences of these lengths."""
    import seqio
    import tensorflow as tf

    def sequences() -> Iterator[dict[str, np.ndarray]]:
        for length in lengths:
            yield {"targets": np.ones(length, np.int32)}

    signature = {"targets": tf.TensorSpec([None], tf.int32)}
    dataset = tf.data.Dataset.from_generator(sequences, output_signature=signature)
    return sum(1 for _ in seqio.trim_and_pack_dataset(dataset, {"targets": longest}, use_custom_ops=False))


def line(name: str, padding: float, rows: int, sequences: int) -> None:
    print(json.dumps({"name": name, "padding": round(padding, 4), "rows": rows, "sequences": sequences}), flush=True)


def grouped(name: str, steps: int) -> tuple[np.ndarray, float]:
    """Prints the line of a mixture's groups; lengths of all sequences, and the share of text slots that stay empty."""
    computed, empty, found = 0, 0, []
    for length, lengths, unused in schedule(name, steps):
        computed, empty = computed + length * len(lengths), empty + unused
        found.append(lengths)
    lengths = np.concatenate(found)
    line(f"{GROUPS} groups, {name}", 1 - lengths.sum() / computed, len(lengths), len(lengths))
    return lengths, empty / computed


def main(steps: str = "2000", count: str = "4000") -> None:
    lengths, empty = [grouped(name, int(steps)) for name in MIXTURES][0]
    longest = int(lengths.max())
    some = np.random.default_rng(0).permutation(lengths)[: int(count)]  # not the first: a step has one length
    made = packed(some, longest)
    line("SeqIO's packing", 1 - some.sum() / (made * longest), made, len(some))
    each, counts = np.unique(lengths, return_counts=True)
    turn = pack([grouping.Kind(*kind) for kind in zip(each.tolist(), counts.tolist(), strict=True)], longest)
    held = np.array([each[number] for row in turn for number in row])
    line("our packing", 1 - held.sum() / (len(turn) * longest), len(turn), len(held))
    line("rows as long as the longest", 1 - lengths.mean() / longest, len(lengths), len(lengths))
    line("text slots that stay empty", empty, len(lengths), len(lengths))


if __name__ == "__main__":
    main(*sys.argv[1:])
