"""SeqIO's registry, filled on import: a Task for each of our tasks, a Mixture for each of `sequence.MIXTURES`.

    export VIDEOPOET_RECORDS=records            # with records/train and records/held_out, of `videopoet data prepare`
    import videopoet_jax.data.mixtures
    seqio.get_mixture_or_task("videopoet_clips_then").get_dataset(None, "train")

Names are `videopoet_text_to_video` and `videopoet_clips_then`; splits are `train` and `validation`. The records say how
sequences are laid out; they are looked for when a dataset is asked for, not before. Features, and the converter to what
a model reads, are those of `features.py`. Importing this needs the extra `data`.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import seqio
import tensorflow as tf

from videopoet_jax.data.features import TASK_FEATURES, features_of
from videopoet_jax.data.shuffle import shuffled
from videopoet_jax.data.task_batches import Damage, kinds_of, taken
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.sequence import MIXTURES, TASKS, Layouts, assemble, load_plugins
from videopoet_jax.sequence.vocabulary import TEXT_OFFSET

PREFIX, RECORDS = "videopoet_", "VIDEOPOET_RECORDS"
SPLITS = {"train": "train", "validation": "held_out"}
TEXT_PIECES = 32_128  # T5's
VOCABULARY = seqio.PassThroughVocabulary(size=TEXT_OFFSET + TEXT_PIECES)
OUTPUT_FEATURES = {
    name: seqio.Feature(VOCABULARY, add_eos=False, required=name != "text", dtype=tf.int32) for name in TASK_FEATURES
}


def records(split: str) -> Path:
    """The directory of a split's records.

    Raises:
        ValueError: nothing says where they are.
    """
    root = os.environ.get(RECORDS)
    if not root:
        raise ValueError(f"{RECORDS}: not set; name the directory that holds {' and '.join(SPLITS.values())} records.")
    return Path(root) / SPLITS[split]


def examples(task: str, split: str, seed: int | None) -> Iterator[dict[str, np.ndarray]]:
    """The features of every record that does for a task, once; in an order of the seed's.

    A damaged one is told of and passed over.

    Raises:
        RecordError: more than `task_batches.MOST_DAMAGED` of all records are damaged, or all that do for the task.
    """
    source = TokenSource(records(split))
    kinds = kinds_of(source.index, source.meta["keys"], {task: 1.0}, Layouts.from_dict(source.meta["layouts"]))
    places = [(kind.layout, int(number)) for kind in kinds for number in kind.records]
    places.sort(key=lambda place: place[1])
    damage, made = Damage(len(source)), 0
    for place in range(len(places)):
        layout, number = places[place if seed is None else shuffled(place, len(places), seed)]
        example = damage.example(source, number, lambda record, layout=layout: assemble(layout, taken(layout, record)))
        if example is not None:
            made += 1
            yield features_of(layout, example)
    if not made:
        raise damage.none_left(len(places), f"task {task}")


def dataset(split: str, shuffle_files: bool, seed: int | None = None, *, task: str) -> tf.data.Dataset:
    """SeqIO's `dataset_fn`."""
    signature = {name: tf.TensorSpec([None], tf.int32) for name in TASK_FEATURES}
    order = (0 if seed is None else seed) if shuffle_files else None
    return tf.data.Dataset.from_generator(functools.partial(examples, task, split, order), output_signature=signature)


def token_accuracy(targets: list, predictions: list) -> dict[str, seqio.metrics.Scalar]:
    """The share of tokens that are the true ones; what is missing is wrong."""
    right = total = 0
    for target, prediction in zip(targets, predictions, strict=True):
        target, prediction = np.asarray(target), np.asarray(prediction)
        count = min(len(target), len(prediction))
        right, total = right + int(np.sum(target[:count] == prediction[:count])), total + len(target)
    return {"token_accuracy": seqio.metrics.Scalar(100 * right / max(1, total))}


def register() -> None:
    """Tasks and mixtures that are not there yet: importing twice, or registering a task of one's own later, is fine."""
    load_plugins()
    for name in TASKS:
        if PREFIX + name not in seqio.TaskRegistry.names():
            seqio.TaskRegistry.add(
                PREFIX + name,
                source=seqio.FunctionDataSource(functools.partial(dataset, task=name), splits=tuple(SPLITS)),
                preprocessors=[seqio.CacheDatasetPlaceholder()],
                output_features=OUTPUT_FEATURES,
                metric_fns=[token_accuracy],
            )
    for name, rates in MIXTURES.items():
        if PREFIX + name not in seqio.MixtureRegistry.names():
            seqio.MixtureRegistry.add(PREFIX + name, [(PREFIX + task, rate) for task, rate in rates.items()])


register()
