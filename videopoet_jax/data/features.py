"""SeqIO's features of a sequence, the converter to what a decoder reads, and from there to our own batches.

    Task's features      inputs  <bos> <task:video> …      targets  <bov_o> v7 …        text  pieces of the prompt
                         inputs_time, inputs_row, inputs_column, inputs_modality, targets_time, …   one for each token

    converted, as SeqIO's PrefixLMFeatureConverter has it:      prefix 7 8 5 1 | output 3 9 1
    decoder_target_tokens     7 8 5 1 3 9 1 0
    decoder_input_tokens      0 7 8 5 1 3 9 1
    decoder_loss_weights      0 0 0 0 1 1 1 0
    decoder_causal_attention  1 1 1 1 1 0 0 0
    decoder_time, …           of the target tokens;  text  as it was

Packed, several sequences share a row, with decoder_segment_ids and decoder_positions. Importing this needs the extra
`data` (SeqIO brings TensorFlow).
"""

import functools
from collections.abc import Mapping

import numpy as np
import seqio
import tensorflow as tf
from jax import Array
from jaxtyping import Int

from videopoet_jax.sequence import SPECIAL_TEXT, TEXT_EMBEDDING, Layout
from videopoet_jax.sequence.vocabulary import AUDIO, AUDIO_OFFSET, TEXT_OFFSET, VISUAL, VISUAL_OFFSET, special_id

PLACES = ("time", "row", "column", "modality")  # the columns of `Layout.positions`
SIDES = ("inputs", "targets")
TASK_FEATURES = (*SIDES, *(f"{side}_{place}" for side in SIDES for place in PLACES), "text")

_INT = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
_SEGMENTS = {"decoder_segment_ids": "targets_segment_ids", "decoder_positions": "targets_positions",
             "text_segment_ids": "text_segment_ids", "text_positions": "text_positions"}  # fmt: skip


def features_of(layout: Layout, example: Mapping[str, np.ndarray]) -> dict[str, Int[np.ndarray, " n"]]:
    """An example of `sequence.assemble` → the features of a SeqIO Task; a text that is written ends with its end."""
    length, prefix = layout.length, layout.prefix_length
    written = example["weights"][prefix:] > 0
    kept = np.concatenate([np.ones(prefix, bool), written])
    if np.any(~written[: int(written.sum())]) or len(kept) != length:
        raise ValueError(f"task {layout.task.name}: weights that are 0 before others; SeqIO has no such features.")
    sides = {"inputs": slice(0, prefix), "targets": slice(prefix, int(kept.sum()))}
    found = {side: example["ids"][part] for side, part in sides.items()}
    for side, part in sides.items():
        found |= {f"{side}_{place}": example["positions"][part, i] for i, place in enumerate(PLACES)}
    text = example["text_ids"][example["text_mask"]] if layout.task.text else np.zeros(0)
    return {name: np.asarray(value, np.int32) for name, value in (found | {"text": text}).items()}


class FeatureConverter(seqio.FeatureConverter):
    """From the features above to a decoder's; `pack` shares rows.

    Rows are as long as the longest inputs and the longest targets together. A subclass may say a `row` of its own: no
    sequence may have both.
    """

    row: int | None = None
    TASK_FEATURES = dict.fromkeys(TASK_FEATURES, _INT)
    MODEL_FEATURES = dict.fromkeys(
        ("decoder_target_tokens", "decoder_input_tokens", "decoder_loss_weights", "decoder_causal_attention",
         *(f"decoder_{place}" for place in PLACES), "text"),
        _INT,
    )  # fmt: skip
    PACKING_FEATURE_DTYPES = dict.fromkeys(_SEGMENTS, tf.int32)

    def _convert_features(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]) -> tf.data.Dataset:
        n = self._row(task_feature_lengths)
        lengths = dict.fromkeys(("targets", "prefix", *PLACES), n) | {"text": task_feature_lengths["text"]}
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
        joined = ds.map(functools.partial(_joined, n), **parallel)
        return self._pack_or_pad(joined, lengths).map(self._converted, **parallel)

    def _row(self, task_feature_lengths: Mapping[str, int]) -> int:
        return self.row or task_feature_lengths["inputs"] + task_feature_lengths["targets"]

    def _converted(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens, prefix = features["targets"], features["prefix"]  # prefix: 2 in it, 1 behind it, 0 where nothing is
        segments = features["targets_segment_ids"] if self.pack else None
        weights = tf.cast(prefix == 1, tf.int32)
        first = tf.concat([[0], tf.cast((prefix[:-1] == 2) & (prefix[1:] == 1), tf.int32)], axis=0)
        model = {
            "decoder_target_tokens": tokens,
            "decoder_input_tokens": seqio.autoregressive_inputs(tokens, sequence_id=segments, bos_id=self.bos_id),
            "decoder_loss_weights": weights,
            "decoder_causal_attention": tf.cast(prefix == 2, tf.int32) + first,
            **{f"decoder_{place}": features[place] for place in PLACES},
            "text": features["text"],
        }
        return model | ({ours: features[theirs] for ours, theirs in _SEGMENTS.items()} if self.pack else {})

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> Mapping[str, int]:
        n = self._row(task_feature_lengths)
        names = [*self.MODEL_FEATURES, *(self.PACKING_FEATURE_DTYPES if self.pack else ())]
        return {name: task_feature_lengths["text"] if name.startswith("text") else n for name in names}


def _joined(most: int, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Prefix and output in a row of at most so many; `prefix` is 2 over the former and 1 over the latter."""
    inputs, targets = (features[side] for side in SIDES)
    # SeqIO would cut it.
    longer = f"a sequence is longer than its row of {most} tokens"
    tf.debugging.assert_less_equal(tf.size(inputs) + tf.size(targets), most, message=longer)
    joined = {place: tf.concat([features[f"{side}_{place}"] for side in SIDES], axis=0) for place in PLACES}
    prefix = tf.concat([2 * tf.ones_like(inputs), tf.ones_like(targets)], axis=0)
    return {"targets": tf.concat([inputs, targets], axis=0), "prefix": prefix, "text": features["text"], **joined}


def tables_of(ids: Int[np.ndarray | Array, "*n"]) -> Int[np.ndarray | Array, "*n"]:
    """Each id's table; padding has that of the special ids."""
    xp = ids.__array_namespace__()
    special = (ids < VISUAL_OFFSET) | (ids >= TEXT_OFFSET)
    tables = xp.where(special, SPECIAL_TEXT, xp.where(ids < AUDIO_OFFSET, VISUAL, AUDIO))
    return xp.where(ids == special_id("<text>"), TEXT_EMBEDDING, tables).astype(xp.int32)


def to_batch(features: Mapping[str, np.ndarray | Array]) -> dict[str, np.ndarray | Array]:
    """Converted features, not packed and stacked to [b n], as the language model's batch (`sequence.assemble`).

    NumPy's arrays become NumPy's and JAX's become JAX's, inside `jit` too.
    """
    ids, text = features["decoder_target_tokens"], features["text"]
    xp = ids.__array_namespace__()
    tables, mask = tables_of(ids), text > 0
    places = xp.stack([features[f"decoder_{place}"] for place in PLACES], axis=-1)
    slots = xp.where(tables == TEXT_EMBEDDING, places[..., 0], 0)
    return {
        "ids": ids,
        "table": tables,
        "positions": places,
        # The attention mask has one position more than the prefix, where the first output is predicted.
        "prefix_length": xp.sum(features["decoder_causal_attention"], axis=-1).astype(xp.int32) - 1,
        "weights": features["decoder_loss_weights"].astype(xp.float32),
        "valid": xp.where(tables == TEXT_EMBEDDING, xp.take_along_axis(mask, slots, axis=-1), ids > 0),
        "text_ids": text,
        "text_mask": mask,
    }
