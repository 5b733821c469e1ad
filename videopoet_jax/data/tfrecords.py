"""Examples as TFRecords of `tf.train.Example`, for SeqIO, TFDS and whoever reads TensorFlow's files; no code of ours.

    {"video": ids [5 4 4], "weight": 0.5, "caption": "hi"}
    → video int64 ×80, video/shape int64 5 4 4, weight float 0.5, caption bytes "hi"

Numbers stand row after row; booleans are 0 and 1. A record lacks what it does not have: a silent clip has no `audio`.
The files are written by TensorFlow (extra `data`) and read from end to end; training looks records up by number, in
those of `token_records`. SeqIO reads them so:

    kinds = kinds_of("records")                                                   {"video": ("int64", 3), …}
    source = seqio.TFExampleDataSource({"train": "records/*.tfrecord"}, description(kinds))
    seqio.Task(name, source=source, preprocessors=[functools.partial(shaped, kinds=kinds)], …)
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.data.token_records import RecordError, RecordFile, read_meta

SHAPE = "/shape"
Kinds = Mapping[str, tuple[str, int]]  # name → (int64, float or bytes; rank, of a text 0)


def check_tensorflow() -> None:
    """
    Raises:
        RecordError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise RecordError("tfrecord: TensorFlow writes it, which is not installed; pip install 'videopoet_jax[data]'.")


def to_example(example: Mapping[str, Any]) -> tuple[bytes, dict[str, tuple[str, int]]]:
    """The bytes of the `tf.train.Example` that is shown above, equal for equal examples; and its kinds.

    Raises:
        RecordError: an entry is neither a number nor a text, or its name ends as a shape's.
    """
    import tensorflow as tf

    features, kinds = {}, {}
    for name, value in example.items():
        if name.endswith(SHAPE):
            raise RecordError(f"{name!r}: names ending in {SHAPE} stand for shapes; take another name.")
        if isinstance(value, str):
            kinds[name] = ("bytes", 0)
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode("utf-8", "replace")]))
            continue
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise RecordError(f"{name!r}: an array of {value.dtype}; numbers, booleans and texts can be stored.")
        kinds[name] = ("float" if value.dtype.kind == "f" else "int64", value.ndim)
        features[name] = _numbers(value.ravel())
        if value.ndim:
            features[name + SHAPE] = _numbers(np.asarray(value.shape, np.int64))
    proto = tf.train.Example(features=tf.train.Features(feature=features))
    return proto.SerializeToString(deterministic=True), kinds


def _numbers(values: np.ndarray) -> Any:
    import tensorflow as tf

    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values.tolist())))


class ExampleFile(RecordFile):
    """One TFRecord file while it is written; its entry in `meta.json` names the `features` and their kinds."""

    SUFFIX = "tfrecord"

    def __init__(self, path: Path) -> None:
        check_tensorflow()
        import tensorflow as tf

        self.path, self.index, self.kinds = path, [], {}
        with self._full_disk():
            self._writer = tf.io.TFRecordWriter(str(path))

    def append(self, example: Mapping[str, Any]) -> None:
        data, kinds = to_example(example)
        for name, kind in kinds.items():
            if self.kinds.setdefault(name, kind) != kind:
                raise RecordError(f"{name!r}: {kind} after {self.kinds[name]}; one name needs one kind and rank.")
        with self._full_disk():
            self._writer.write(data)

    def close(self, name: str) -> dict[str, Any]:
        with self._full_disk():
            entry = super().close(name)
        return entry | {"features": {name: list(kind) for name, kind in sorted(self.kinds.items())}}

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            raise RecordError(f"{self.path.parent}: cannot be written ({error.message}); is the disk full?") from error


FORMATS = {form.SUFFIX: form for form in (RecordFile, ExampleFile)}


def kinds_of(directory: str | os.PathLike) -> dict[str, tuple[str, int]]:
    """What the records of a directory hold, by its `meta.json`: `{"video": ("int64", 3), "caption": ("bytes", 0)}`.

    Raises:
        RecordError: these are no TFRecords.
    """
    files = read_meta(Path(directory))["files"]
    if any("features" not in file for file in files):
        raise RecordError(f"{directory}: not TFRecords; make them with `videopoet data prepare --format tfrecord`.")
    return {name: tuple(kind) for file in files for name, kind in file["features"].items()}


def description(kinds: Kinds) -> dict[str, Any]:
    """What `tf.io.parse_single_example` and SeqIO's TFExampleDataSource are told of these records."""
    import tensorflow as tf

    types = {"int64": tf.int64, "float": tf.float32, "bytes": tf.string}
    found = {}
    for name, (kind, rank) in kinds.items():
        if rank:
            found |= {name: tf.io.RaggedFeature(types[kind]), name + SHAPE: tf.io.RaggedFeature(tf.int64)}
        else:
            found[name] = tf.io.FixedLenFeature([], types[kind], default_value="" if kind == "bytes" else 0)
    return found


def shaped(dataset: Any, kinds: Kinds) -> Any:
    """A preprocessor of SeqIO's: parsed records → `{"video": int64 [5 4 4], …}`; what one lacks is 0, "" or [0 0 0]."""
    import tensorflow as tf

    def arrays(parsed: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, (_, rank) in kinds.items():
            found[name] = parsed[name]
            if rank:
                shape = parsed[name + SHAPE]
                shape = tf.concat([shape, tf.zeros([rank - tf.size(shape)], tf.int64)], axis=0)
                found[name] = tf.ensure_shape(tf.reshape(parsed[name], shape), [None] * rank)
        return found

    return dataset.map(arrays, num_parallel_calls=tf.data.AUTOTUNE)
