"""The clips of a prepared data set of TFDS, each by its number, in the order in which it is stored.

    Clips(name, builder, "train[1:]+test")[2]   →   {"video": …, "label": …, "tfds_id": b"a-train.tfrecord-…__3"}

What is asked for in turn is read in one go. Any other clip is looked for from the beginning of its file, but in
ArrayRecord files, where it is found at once.
"""

import contextlib
import functools
import operator
import os
import threading
from collections.abc import Iterator
from typing import Any

from videopoet_jax.data.media import MediaError
from videopoet_jax.data.tfds_name import Part, parts_of


class Clips:
    """What TFDS stores, as NumPy has it, and "tfds_id"; a nested data set (RLDS: steps) is an iterable of such.

    Raises:
        MediaError: no such split, or nothing in it.
    """

    def __init__(self, name: str, builder: Any, split: str):
        self._name, self._builder, self._parts = name, builder, parts_of(name, builder, split)
        self._reading = threading.local()

    def __len__(self) -> int:
        return sum(part.stop - part.first for part in self._parts)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """
        Raises:
            MediaError: no such clip, or it is damaged.
        """
        if not 0 <= number < len(self):
            raise MediaError(f"{self._name}: clip {number}: there are {len(self)}, numbered from 0.")
        reading = self._reading
        with self.damage_told(number):
            if getattr(reading, "next", None) != number:
                reading.clips = self._from(number)
            reading.next = None  # unless what follows succeeds
            clip = next(reading.clips)
        reading.next = number + 1
        return clip

    @contextlib.contextmanager
    def damage_told(self, number: int) -> Iterator[None]:
        """TensorFlow's errors as ours. A clip's steps are read when they are asked for: it belongs around that too."""
        from tensorflow.errors import OpError

        try:
            yield
        except OpError as error:
            reason = " ".join(str(error.message).split())[:160]
            raise MediaError(f"{self._name}: clip {number} is damaged ({reason}); prepare it again.") from error

    def _from(self, number: int) -> Iterator[dict[str, Any]]:
        import tensorflow_datasets as tfds

        rest: list[Part] = []
        for part in self._parts:
            first = min(part.stop, part.first + number)
            number -= first - part.first
            if first < part.stop:
                rest.append(part._replace(first=first))
        instructions = [tfds.core.ReadInstruction(p.split, from_=p.first, to=p.stop, unit="abs") for p in rest]
        split = functools.reduce(operator.add, instructions)
        if self._builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
            clips = self._of_array_records(split)
        else:
            config = tfds.ReadConfig(
                add_tfds_id=True, interleave_cycle_length=1, try_autocache=False, skip_prefetch=True
            )  # so that clips come in one order, and few are held
            clips = self._builder.as_dataset(split=split, read_config=config, shuffle_files=False)
        return iter(tfds.as_numpy(clips))

    def _of_array_records(self, split: Any) -> Any:
        """As `as_dataset`, which does not read them: decoded by the same features, with ids of the same form."""
        import tensorflow as tf

        info = self._builder.info
        files = info.splits[split].file_instructions

        def records() -> Iterator[tuple[str, bytes]]:
            from array_record.python.array_record_data_source import ArrayRecordDataSource

            ids = (f"{os.path.basename(f.filename)}__{i}" for f in files for i in range(f.skip, f.skip + f.take))
            yield from zip(ids, ArrayRecordDataSource(files), strict=True)

        text = tf.TensorSpec((), tf.string)
        stored = tf.data.Dataset.from_generator(records, output_signature=(text, text))
        return stored.map(lambda tfds_id, record: {**info.features.deserialize_example(record), "tfds_id": tfds_id})
