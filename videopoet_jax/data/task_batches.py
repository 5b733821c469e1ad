"""From token records and the rates of tasks to batches of sequences: every task, every size, sound or none, by groups.

    records          kinds: one layout each                        groups (grouping.py)      batches
    index, rates  →  task × size × sound × room for text, with  →  of neighbouring       →   {"ids": [rows length], …}
                     the records that will do                      lengths                   of one group each,
                                                                   or rows that several      or all of one shape
                                                                   share (packing.py)

A clip without sound, or with a short caption, makes a shorter sequence of the same task; a task's rate is shared among
its kinds by how many records each has. What a group pads is `<pad>`, which nothing sees and no loss counts.
"""

import functools
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from videopoet_jax.data import grouping
from videopoet_jax.data.loader import Loader, Part, Stream, mixture
from videopoet_jax.data.packing import PackedRows, pack, padded
from videopoet_jax.data.token_records import FIELDS, RecordError, TokenSource
from videopoet_jax.sequence import Layout, Layouts, Task, assemble, get_task, pixel_frames

Example = dict[str, Any]
TEXTS = ("text_ids", "text_mask", "text_embedding")  # of a record, a row for each text slot
MOST_DAMAGED = 0.01  # ours: of the records, that may be passed over
_LOG = logging.getLogger(__name__)


class Kind(NamedTuple):
    """Sequences of one layout: the records (their numbers) that make them, and their rate."""

    layout: Layout
    records: Int[np.ndarray, " n"]
    rate: float


class Damage:
    """Records that could not be read, or hold what no record of theirs may; each is told of once.

    Every process counts those that it has read itself since it started; the first with too many ends with an error.
    """

    def __init__(self, records: int) -> None:
        self.records, self.numbers = records, set()
        self.last: Exception | None = None

    def example(self, source: Any, number: int, make: Callable[[Example], Example]) -> Example | None:
        """What `make` makes of a record; None if it is damaged.

        Raises:
            RecordError: more than `MOST_DAMAGED` of all records (one at least) are damaged.
        """
        try:
            return make(source[number])
        except ValueError as error:  # a RecordError, or codes that the layout does not take
            self._add(number, error)
        return None

    def _add(self, number: int, error: Exception) -> None:
        self.last = error
        if number in self.numbers:
            return
        self.numbers.add(number)
        _LOG.warning("passed over: record %d: %s", number, error)
        if len(self.numbers) > max(1, int(MOST_DAMAGED * self.records)):
            raise RecordError(
                f"{len(self.numbers)} of {self.records} records are damaged, {MOST_DAMAGED:.0%} at most are passed "
                f"over; the last: {error}"
            ) from error

    def none_left(self, records: int, what: str) -> RecordError:
        """That none of some records is whole: `what` says which."""
        return RecordError(
            f"{what}: none of its {records} records is whole; leave the task out, or make them anew; the last: "
            f"{self.last}"
        )


class Examples:
    """A kind's records as examples. In place of a damaged one comes the next that is not, twice in that epoch, so a run
    that goes on passes over the same ones.

    Raises:
        RecordError: when one is asked for and none is whole; as `Damage`.
    """

    def __init__(
        self,
        source: Any,
        numbers: Int[np.ndarray, " n"],
        make: Callable[[Example], Example],
        damage: Damage,
        what: str,
    ) -> None:
        self._source, self._numbers, self._make = source, numbers, make
        self._damage, self._what = damage, what

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        for place in range(index, index + len(self)):
            example = self._damage.example(self._source, int(self._numbers[place % len(self)]), self._make)
            if example is not None:
                return example
        raise self._damage.none_left(len(self), self._what)

    def __repr__(self) -> str:
        return f"{self._source!r}[{len(self)}]"


def kinds_of(
    index: Int[np.ndarray, "n fields"], keys: Sequence[str], rates: Mapping[str, float], layouts: Layouts
) -> list[Kind]:
    """Every layout that these tasks make of these records.

    Args:
        index: rows of `token_records.FIELDS`.
        keys: codes that every record has, `video` and other views.
        rates: of each task; those of 0 are left out.

    Raises:
        ValueError: a task that no record will do for; a negative rate.
    """
    kinds = []
    for name, rate in rates.items():
        if rate < 0:
            raise ValueError(f"rate {rate:g} of task {name}: must be 0 (left out) or more.")
        if rate:
            kinds += _kinds_of_task(get_task(name), rate, index, keys, layouts)
    if not kinds:
        raise ValueError("data.tasks: no task with a rate above 0; name at least one.")
    return kinds


def _kinds_of_task(
    task: Task, rate: float, index: Int[np.ndarray, "n fields"], keys: Sequence[str], layouts: Layouts
) -> list[Kind]:
    if missing := sorted({*task.keys(sound=False)} - {*keys}):
        raise ValueError(
            f"task {task.name}: the records have no {', '.join(missing)} (only {', '.join(keys)}); make them anew with "
            f"this task in data.tasks."
        )
    columns = dict(zip(FIELDS, np.asarray(index).T, strict=True))
    sound = (columns["audio_frames"] > 0) & (layouts.audio_levels > 0) & ("audio" in task.keys(sound=True))
    slots = np.searchsorted(layouts.text_lengths, columns["pieces"]).clip(max=len(layouts.text_lengths) - 1)
    slots = slots if task.needs_text else np.zeros_like(slots)
    latents = columns["latents"] if task.frames is None else np.ones_like(columns["latents"])
    able = (columns["pieces"] > 0) | (not task.needs_text)
    able &= sound | (not task.needs_sound)
    able &= (columns["latents"] > 1) | (task.frames == 1)  # a picture is no clip
    found, refusal = (
        [],
        "no record has "
        + " and ".join(
            what for what, needed in (("a caption", task.needs_text), ("sound", task.needs_sound)) if needed
        ),
    )
    shape = np.stack([latents, columns["rows"], columns["columns"], sound, slots], axis=1)
    for row in np.unique(shape[able], axis=0).tolist():
        frames, (height, width) = pixel_frames(row[0]), (side * layouts.spatial_stride for side in row[1:3])
        grid = layouts.grid(frames, height, width, sound=bool(row[3]))
        try:
            layout = layouts.layout(task, grid, layouts.text_lengths[row[4]])
        except ValueError as error:  # too short a clip for it
            refusal = str(error)
            continue
        found.append((layout, np.flatnonzero(able & (shape == row).all(axis=1))))
    if not found:
        raise ValueError(f"task {task.name}: {refusal}; leave it out of data.tasks, or add records that will do.")
    total = sum(len(numbers) for _, numbers in found)
    return [Kind(layout, numbers, rate * len(numbers) / total) for layout, numbers in found]


def taken(layout: Layout, record: Example) -> Example:
    """What a layout takes of a record: codes, and its text, of which one that is too long keeps its `</s>`.

    pieces `9 8 7 6 1`, three slots → `9 8 1`
    """
    found = {key: record[key] for key in layout.task.keys(sound=bool(layout.grid.audio_levels)) if key in record}
    slots, count = layout.text_length, int(np.sum(record.get("text_mask", 0)))
    kept = np.r_[: slots - 1, count - 1] if count > slots else np.s_[:slots]
    return found | {name: np.asarray(record[name])[kept] for name in TEXTS if name in record}


def example_of(
    layout: Layout, length: int, text_length: int, constants: Mapping[str, np.ndarray]
) -> Callable[[Example], Example]:
    """A record → its example, padded to the length and the text slots of its group; of `constants` what it lacks."""

    def make(record: Example) -> Example:
        example = assemble(layout, taken(layout, record))
        sizes = {name: length for name in ("ids", "table", "positions", "weights", "valid")}
        sizes |= {name: text_length for name in TEXTS}
        filled = {name: padded(value, sizes[name]) if name in sizes else value for name, value in example.items()}
        return constants | filled

    return make


def task_batches(
    source: TokenSource,
    rates: Mapping[str, float],
    layouts: Layouts,
    *,
    most_groups: int,
    packing: int = 0,
    stretches: int = 1,
    rows: Callable[[int], int],
    constants: Callable[[int], Mapping[str, np.ndarray]],
    seed: int,
    **options: Any,
) -> Loader:
    """The batches of a training run.

    Args:
        most_groups: shapes of batches that there may be.
        packing: tokens of a row that several sequences share, instead of groups; there are as many of a kind as groups
            of its very length would hold. 0: a sequence a row.
        stretches: in how many equal parts devices share a row (`mesh.sequence`); rows are padded to whole ones.
        rows: length of rows → how many a batch has.
        constants: text slots → what every example has too, the empty prompt's pieces say.
        options: of `loader.mixture`.
    """
    kinds, damage = kinds_of(source.index, source.meta["keys"], rates, layouts), Damage(len(source))
    records = f"records {source.digest}"  # in the loader's state: of others none goes on

    def stream(kind: Kind, weight: float, length: int, text_length: int, place: str) -> Stream:
        make = example_of(kind.layout, length, text_length, constants(text_length))
        name = f"{kind.layout.task.name}, {kind.layout.length} tokens {place}"
        return Stream(Examples(source, kind.records, make, damage, _told(kind.layout)), weight, name=name)

    if packing:
        packing = grouping.stretched(packing, stretches)
        text_length = max(kind.layout.text_length for kind in kinds)
        weights = [kind.rate * rows(kind.layout.length) for kind in kinds]
        lengths = [kind.layout.length for kind in kinds]
        turn = pack([*map(grouping.Kind, lengths, weights)], packing)
        streams = [
            stream(kind, weight, length, text_length, f"in rows of {packing}")
            for kind, weight, length in zip(kinds, weights, lengths, strict=True)
        ]
        name = f"{len(turn)} rows, CRC-32 {zlib.crc32(repr(turn).encode()):08x}, {records}"
        blend = functools.partial(PackedRows, turn, packing)
        return mixture([Part(streams, 1.0, rows(packing), blend, name)], seed=seed, **options)
    parts = []
    for length, text_length, members in _groups(kinds, most_groups, stretches):
        streams = [stream(kind, kind.rate, length, text_length, f"of {length}") for kind in members]
        parts.append(Part(streams, sum(kind.rate for kind in members), rows(length), name=records))
    return mixture(parts, seed=seed, **options)


def _told(layout: Layout) -> str:
    """`task text_to_video, 17×128×128`"""
    grid = layout.grid
    return f"task {layout.task.name}, {grid.frames}×{grid.height}×{grid.width}"


def _groups(kinds: Sequence[Kind], most_groups: int, stretches: int) -> Iterator[tuple[int, int, list[Kind]]]:
    """(tokens, text slots, kinds) of each group."""
    for group in grouping.group([grouping.Kind(kind.layout.length, kind.rate) for kind in kinds], most_groups):
        members = [kinds[number] for number in group.kinds]
        yield grouping.stretched(group.length, stretches), max(kind.layout.text_length for kind in members), members


def sequences_a_step(
    kinds: Sequence[Kind], *, most_groups: int, packing: int, stretches: int, rows: Callable[[int], int]
) -> list[tuple[Layout, float]]:
    """How many sequences of each kind a step has on average, by `task_batches`' own rules."""
    total = sum(kind.rate for kind in kinds)
    if packing:
        return [(kind.layout, kind.rate / total * rows(kind.layout.length)) for kind in kinds]
    groups = _groups(kinds, most_groups, stretches)
    return [(kind.layout, kind.rate / total * rows(length)) for length, _, members in groups for kind in members]


def one_task_each(
    source: TokenSource,
    rates: Mapping[str, float],
    layouts: Layouts,
    *,
    most_groups: int,
    stretches: int = 1,
    rows: int,
    constants: Callable[[int], Mapping[str, np.ndarray]],
) -> dict[str, Example]:
    """For each task a batch of it alone, of the first records of its commonest kind, to measure it by.

    Batches are as long as their group's in training, so that tasks share compiled programs. With fewer than `rows`
    records the first ones come again.
    """
    found: dict[str, tuple[float, Example]] = {}
    kinds = kinds_of(source.index, source.meta["keys"], rates, layouts)
    for length, text_length, members in _groups(kinds, most_groups, stretches):
        for kind in members:
            name, make = kind.layout.task.name, example_of(kind.layout, length, text_length, constants(text_length))
            if kind.rate > found.get(name, (0.0,))[0]:
                examples = [make(source[int(number)]) for number in np.resize(kind.records, rows)]
                found[name] = kind.rate, {key: np.stack([e[key] for e in examples]) for key in examples[0]}
    return {name: batch for name, (_, batch) in found.items()}
