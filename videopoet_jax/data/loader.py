"""From random-access sources to batches, in an order that depends on the seed and the batch's number alone.

    loader = make_loader(source, batch_size=8, seed=0)          # source[i] → dict of arrays
    batch = next(loader)                                        # dict of stacked arrays, and "example": their numbers
    state = loader.get_state()                                  # {"next_batch": 1, "spec": […]}
    loader.set_state(state)                                     # the very next batch is number 1 again

    parts = [Part([Stream(clips)], weight=3, batch_size=8), Part([Stream(images)], weight=1, batch_size=40)]
    loader = mixture(parts, seed=0)
    part of each batch:   0 0 1 0  0 0 1 0 …                    # a batch comes from one part, so shapes may differ

    Part([Stream(clips, 2), Stream(films, 1)], weight=1, batch_size=6)
    stream of each row:   0 1 0  0 1 0                          # a batch may blend streams of one shape

Batch number n holds the same examples for any number of processes; each process reads its own rows of it.
"""

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
import numpy as np

from videopoet_jax.data.shuffle import mix, shuffled

Example = dict[str, Any]
Transform = Callable[[Example], Example]
RandomTransform = Callable[[Example, np.random.Generator], Example]


@runtime_checkable
class Source(Protocol):
    """Random access to examples: dicts of arrays (or scalars), the same for the same number every time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Stream(NamedTuple):
    """A source's examples, epoch after epoch; `weight` is their share of its part's rows, relative to the others'.

    `name` says what the transforms make of them, by which a run knows its own data when it goes on.
    """

    source: Any
    weight: float = 1.0
    transform: Transform | None = None
    random_transform: RandomTransform | None = None
    name: str = ""


class Part(NamedTuple):
    """What batches of one shape are made of; `weight` is its share of the batches, relative to the others'.

    A row is an example of one of the streams, or what `blend` makes of all their examples; `name` says what that is, or
    of what it is made: a run goes on with no other.
    """

    streams: Sequence[Stream]
    weight: float
    batch_size: int
    blend: Callable[[Sequence[Source]], Source] | None = None
    name: str = ""


class _Examples:
    """A stream's examples one after the other, shuffled anew in every epoch, transformed and numbered."""

    def __init__(self, stream: Stream, number: int, *, key: int, shuffle: bool, num_epochs: int | None):
        self._stream, self._number, self._key, self._shuffle = stream, number, key, shuffle
        self._count = len(stream.source)
        self._length = sys.maxsize if num_epochs is None else self._count * num_epochs

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Example:
        position, stream = int(position), self._stream
        epoch, place = divmod(position, self._count)
        number = shuffled(place, self._count, self._key + mix(epoch)) if self._shuffle else place
        example = stream.source[number]
        if stream.transform is not None:
            example = stream.transform(example)
        if stream.random_transform is not None:
            example = stream.random_transform(example, np.random.default_rng((self._key, position)))
        return {**example, "example": np.int32(number), "stream": np.int32(self._number)}

    def __repr__(self) -> str:
        return f"{type(self._stream.source).__name__}[{self._count}]"


class _Rows:
    """The rows of a part's batches that this process reads.

    `batches of 4, process 1 of 2: rows 0 1 2 3 … → rows 2 3 6 7 … of all`
    """

    def __init__(self, rows: Source, batch_size: int, process: int, processes: int):
        self._all, self._batch_size, self._own = rows, batch_size, batch_size // processes
        self._first = self._own * process

    def __len__(self) -> int:
        return len(self._all) // self._batch_size * self._own

    def __getitem__(self, row: int) -> Example:
        batch, row = divmod(int(row), self._own)
        return self._all[batch * self._batch_size + self._first + row]

    def __repr__(self) -> str:
        return repr(self._all)


def _batches(
    part: Part, number: int, *, seed: int, shuffle: bool, num_epochs: int | None, process: int, processes: int
) -> grain.MapDataset:
    """The endless (or `num_epochs` long) random-access sequence of one part's batches."""
    size = part.batch_size
    if size < 1 or size % processes:
        raise ValueError(f"batch_size {size}: must be a positive multiple of the {processes} processes.")
    rows = []
    for place, stream in enumerate(part.streams):
        if len(stream.source) == 0:
            raise ValueError(f"{stream.source!r}: holds no examples; a source needs at least one.")
        if stream.weight <= 0:
            raise ValueError(f"stream {place} with weight {stream.weight}: must be above 0; leave the stream out.")
        key = zlib.crc32(f"{seed}/{number}/{place}".encode() if place else f"{seed}/{number}".encode())
        examples = _Examples(stream, place, key=key, shuffle=shuffle, num_epochs=num_epochs)
        rows.append(grain.MapDataset.source(examples))
    if part.blend is not None:
        blend = part.blend(rows)
    elif len(rows) == 1:
        blend = rows[0]
    else:
        blend = grain.MapDataset.mix(rows, [stream.weight for stream in part.streams])
    if len(blend) < size:
        raise ValueError(f"{len(blend)} examples for batch_size {size}: not one batch; choose at most {len(blend)}.")
    own = grain.MapDataset.source(_Rows(blend, size, process, processes))
    return own.batch(size // processes, drop_remainder=True)


def _change(before: Any, now: Any, place: str = "data") -> str:
    """What differs first: `[{"seed": 0, "name": "a"}], [{"seed": 1, "name": "b"}] → data[0].seed 0 → 1`"""
    if isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return f"{place}, entries {len(before)} → {len(now)}"
        found = [(f"{place}[{number}]", *pair) for number, pair in enumerate(zip(before, now, strict=True))]
    elif isinstance(before, dict) and isinstance(now, dict):
        found = [(f"{place}.{key}", before.get(key), now.get(key)) for key in {**before, **now}]
    else:
        return f"{place} {before!r} → {now!r}"
    return next(_change(old, new, name) for name, old, new in found if old != new)


class Loader:
    """An endless iterator over batches that can say where it is, and be set there again."""

    def __init__(
        self,
        dataset: grain.MapDataset,
        turns: grain.MapDataset,
        spec: list[dict],
        *,
        num_threads: int,
        prefetch: int,
    ):
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0)
        self._dataset = dataset
        self._turns = turns  # the number of each batch's part
        self._spec = spec
        self._iterator = iter(dataset.to_iter_dataset(options))
        self._next = 0

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._iterator)
        self._next += 1
        return batch

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        """Batch `number`, without moving the iterator."""
        return self._dataset[number]

    def ahead(self, steps: int) -> list[dict[str, np.ndarray]]:
        """The first batch of each part among the next `steps`, without moving the iterator: all shapes to come.

        `parts 0 0 1 0 0 2 …, 4 steps → batches 0 2`
        """
        first: dict[int, int] = {}
        for number in range(self._next, min(self._next + steps, len(self))):
            first.setdefault(self._turns[number], number)
            if len(first) == len(self._spec):
                break
        return [self[number] for number in first.values()]

    def get_state(self) -> dict:
        """Where the iterator is, as plain JSON: the number of the next batch and what it is a batch of."""
        return {"next_batch": self._next, "spec": self._spec}

    def set_state(self, state: dict) -> None:
        """Goes to a state of `get_state`; the next batch is the one that would have come then.

        Raises:
            ValueError: the state is of other data, so its numbers mean other examples.
        """
        if state["spec"] != self._spec:
            raise ValueError(
                f"{_change(state['spec'], self._spec)}: the checkpoint's data and this run's must be the same to go "
                f"on; use the same records, sources, batch sizes and seed, or start in another folder."
            )
        self._iterator.set_state({"next_index": state["next_batch"]})
        self._next = state["next_batch"]


def mixture(
    parts: Sequence[Part],
    *,
    seed: int,
    shuffle: bool = True,
    num_epochs: int | None = None,
    num_threads: int = 2,
    prefetch: int = 4,
    process: int | None = None,
    processes: int | None = None,
) -> Loader:
    """Batches of several parts, each batch of one; which one is fixed by the batch's number.

    Every batch carries `part` (the number of its part, once for each row) and `stream` (that of each row in its part)
    beside `example`.

    Args:
        num_epochs: passes over each source; None for endless ones.
        num_threads: threads that read ahead; 0 reads when asked.
        prefetch: batches read ahead.
        process: this process, of `processes`; JAX's own numbers by default.
    """
    processes = jax.process_count() if processes is None else processes
    process = jax.process_index() if process is None else process
    spec, datasets, turns = [], [], []
    for number, part in enumerate(parts):
        if part.weight <= 0:
            raise ValueError(f"part {number} with weight {part.weight}: must be above 0; leave the part out.")
        batches = _batches(
            part, number, seed=seed, shuffle=shuffle, num_epochs=num_epochs, process=process, processes=processes
        )
        rows = part.batch_size // processes
        datasets.append(batches.map(lambda b, n=number, r=rows: {**b, "part": np.full(r, n, np.int32)}))
        turns.append(grain.MapDataset.source([number]).repeat())
        spec.append(
            {
                "streams": [{"name": s.name, "examples": len(s.source), "weight": s.weight} for s in part.streams],
                "batch_size": part.batch_size,
                "weight": part.weight,
                "seed": seed,
                "shuffle": shuffle,
                "num_epochs": num_epochs,
            }
            | ({"name": part.name} if part.name else {})
        )

    def mixed(sequences: list[grain.MapDataset]) -> grain.MapDataset:
        return sequences[0] if len(sequences) == 1 else grain.MapDataset.mix(sequences, [part.weight for part in parts])

    return Loader(mixed(datasets), mixed(turns), spec, num_threads=num_threads, prefetch=prefetch)


def make_loader(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool = True,
    num_epochs: int | None = None,
    transform: Transform | None = None,
    random_transform: RandomTransform | None = None,
    num_threads: int = 2,
    prefetch: int = 4,
) -> Loader:
    """Batches of one source, shuffled anew in every epoch.

    Args:
        batch_size: rows of a batch over all processes; what is left at the end of the last epoch is dropped.
        transform: applied to every example.
        random_transform: `(example, rng) → example`, after `transform`; `rng` depends on the seed and the row's
            place in the run, and on nothing else.
        num_epochs, num_threads, prefetch: as in `mixture`.
    """
    part = Part([Stream(source, 1.0, transform, random_transform)], 1.0, batch_size)
    return mixture(
        [part], seed=seed, shuffle=shuffle, num_epochs=num_epochs, num_threads=num_threads, prefetch=prefetch
    )
