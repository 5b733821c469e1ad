"""Weights of published T5 encoders into our tree, nothing left over, nothing missing: T5 v1.1, Flan-T5 and mT5.

Here Hugging Face's safetensors; T5X's own checkpoints are read in `weights_t5x`, and put together by `assemble` too.

    encoder.block.{i}.layer.0.SelfAttention.q.weight    [m·e d]  →  layers.attention.query  [layers d m e]
    encoder.block.{i}.layer.1.DenseReluDense.wo.weight  [d mlp]  →  layers.mlp.down         [layers mlp d]

mT5 is T5 v1.1 with 250,112 rows and a spiece.model of its own. Refused, because `T5Encoder` computes something else:
T5 v1.0 (no gate, relu) and umT5 (a table of relative biases in every layer). Support of v1.0 would put a second
feed-forward and a field into every config, for weights that v1.1 and Flan-T5 have replaced at every size.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.pretrained import files
from videopoet_jax.pretrained.renamed import renamed

Convert = Callable[[np.ndarray], np.ndarray]

# Ours, then theirs; a name with {i} stands once for each layer.
NAMES = {
    "embedding": "shared.weight",
    "relative_bias": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "final_norm.scale": "encoder.final_layer_norm.weight",
    "layers.attention_norm.scale": "encoder.block.{i}.layer.0.layer_norm.weight",
    "layers.attention.query": "encoder.block.{i}.layer.0.SelfAttention.q.weight",
    "layers.attention.key": "encoder.block.{i}.layer.0.SelfAttention.k.weight",
    "layers.attention.value": "encoder.block.{i}.layer.0.SelfAttention.v.weight",
    "layers.attention.out": "encoder.block.{i}.layer.0.SelfAttention.o.weight",
    "layers.mlp_norm.scale": "encoder.block.{i}.layer.1.layer_norm.weight",
    "layers.mlp.gate": "encoder.block.{i}.layer.1.DenseReluDense.wi_0.weight",
    "layers.mlp.up": "encoder.block.{i}.layer.1.DenseReluDense.wi_1.weight",
    "layers.mlp.down": "encoder.block.{i}.layer.1.DenseReluDense.wo.weight",
}
COPY = "encoder.embed_tokens.weight"  # some files hold the embedding a second time under this name
UNUSED = ("decoder.", "lm_head.")  # the other half of T5: an encoder has no use for it, and it is not read

FIELDS = {
    "vocabulary": "vocab_size",
    "width": "d_model",
    "depth": "num_layers",
    "heads": "num_heads",
    "head_width": "d_kv",
    "mlp_width": "d_ff",
    "buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "epsilon": "layer_norm_epsilon",
}
OTHER_T5S = {
    "T5 v1.0": "T5 v1.0 has no gate in its feed-forward",
    "umT5": "umT5 has a table of relative biases in every layer",
}


def refuse(which: str, found: str) -> ValueError:
    """The error for one of `OTHER_T5S`, as both kinds of checkpoints raise it; `found` says what gave it away."""
    return ValueError(f"{found}: {OTHER_T5S[which]}; take a T5 v1.1, Flan-T5 or mT5 checkpoint.")


def is_huggingface(directory: str | os.PathLike) -> bool:
    """Whether the directory has Hugging Face's config.json of a T5; a file that cannot be read is none."""
    try:
        config = json.loads((Path(directory) / files.CONFIG).read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):  # no JSON, no UTF-8: `files.read_config` says so
        return False
    return isinstance(config, dict) and config.get("model_type") in ("t5", "mt5", "umt5")


def config_from_huggingface(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `T5Encoder` (without dtype) from a T5's config.json.

    Raises:
        ValueError: umT5, another feed-forward than v1.1's, or a size missing.
    """
    if config.get("model_type") == "umt5":
        raise refuse("umT5", "model_type 'umt5'")
    projection = config.get("feed_forward_proj")
    if projection == "relu":
        raise refuse("T5 v1.0", "feed_forward_proj 'relu'")
    if projection != "gated-gelu":
        raise ValueError(f"feed_forward_proj {projection!r}: 'gated-gelu' is needed; take a T5 v1.1 checkpoint.")
    # Files older than the field mean 128, the value that T5 always had.
    config = {"relative_attention_max_distance": 128, **config}
    missing = [theirs for theirs in FIELDS.values() if theirs not in config]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}: restore the checkpoint's own config.json.")
    return {ours: config[theirs] for ours, theirs in FIELDS.items()}


def params_from_huggingface(stored: files.Stored, config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter tree of `T5Encoder(**config)` from flat Hugging Face tensors.

    Raises:
        ValueError: a tensor missing, one that no rule covers, or one of another shape.
    """
    shapes = {name: shape for name, shape in stored.shapes.items() if not name.startswith(UNUSED) and name != COPY}
    table, read = NAMES["embedding"], stored.read
    if COPY in stored.shapes and table not in shapes:
        shapes[table] = stored.shapes[COPY]
        read = lambda name: stored.read(COPY if name == table else name)  # noqa: E731
    elif COPY in stored.shapes and not np.array_equal(read(COPY), read(table)):
        raise ValueError(
            f"{stored.source}: {COPY} differs from shared.weight; T5 encoders share the two, take such a checkpoint."
        )
    return assemble(files.Stored(stored.source, shapes, read), NAMES, config)


def assemble(
    stored: files.Stored, names: Mapping[str, str], config: Mapping[str, Any], turned: bool = False
) -> dict[str, Any]:
    """The parameter tree of `T5Encoder(**config)`; one tensor is read at a time.

    Args:
        names: ours → those of the checkpoint, as in `NAMES`.
        turned: whether a matrix is [in out] there, not a torch Linear's [out in]; the embedding is [v d] in both.

    Raises:
        ValueError: a tensor missing, one that has no name in `names`, or one of another shape.
    """
    expected, convert = shapes(config), converters(config)
    if turned:
        flipped = [name for name, shape in expected.items() if len(shape) == 2 and name != "embedding"]
        expected |= {name: expected[name][::-1] for name in flipped}
        convert |= {name: _of_turned(convert.get(name)) for name in flipped}
    whole = f"a whole checkpoint of a T5 encoder of {config['depth']} layers"
    return files.unflatten(renamed(stored, names, config["depth"], expected, convert, whole))


def _of_turned(convert: Convert | None) -> Convert:
    """`convert` for a matrix that the file has the other way round."""
    return lambda x: convert(x.T) if convert else x.T


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor in the Hugging Face file (of one layer), by our name."""
    d, joined, mlp = config["width"], config["heads"] * config["head_width"], config["mlp_width"]
    return {
        "embedding": (config["vocabulary"], d),
        "relative_bias": (config["buckets"], config["heads"]),
        "final_norm.scale": (d,),
        "layers.attention_norm.scale": (d,),
        "layers.mlp_norm.scale": (d,),
        **{f"layers.attention.{name}": (joined, d) for name in ("query", "key", "value")},
        "layers.attention.out": (d, joined),
        **{f"layers.mlp.{name}": (mlp, d) for name in ("gate", "up")},
        "layers.mlp.down": (d, mlp),
    }


def converters(config: Mapping[str, Any]) -> dict[str, Convert]:
    """What turns a torch Linear's [out in] into our kernel; names not listed stay as they are."""
    d, heads = config["width"], (config["heads"], config["head_width"])
    return {
        **{f"layers.attention.{name}": lambda x: x.T.reshape(d, *heads) for name in ("query", "key", "value")},
        "layers.attention.out": lambda x: x.T.reshape(*heads, d),
        **{f"layers.mlp.{name}": np.transpose for name in ("gate", "up", "down")},
    }


def load_huggingface(directory: str | os.PathLike, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `T5Encoder` (without dtype) and its parameters, from one directory (sharded files too)."""
    config = json.loads((Path(directory) / files.CONFIG).read_text(encoding="utf-8"))
    fields = config_from_huggingface(config)
    return fields, params_from_huggingface(files.open_params(directory, dtype), fields)
