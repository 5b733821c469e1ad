"""Weights of published T5 v1.1 encoders (Hugging Face's safetensors) into our tree; nothing left over, nothing missing.

encoder.block.{i}.layer.0.SelfAttention.q.weight  [m·e d]   →  layers.attention.query  [layers d m e]
encoder.block.{i}.layer.1.DenseReluDense.wo.weight  [d mlp] →  layers.mlp.down         [layers mlp d]
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.pretrained import files

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
UNUSED = ("decoder.", "lm_head.")  # the other half of T5: an encoder has no use for it

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


def is_huggingface(directory: str | os.PathLike) -> bool:
    """Whether the directory's config.json is Hugging Face's of a T5; a file that cannot be read is not."""
    try:
        config = json.loads((Path(directory) / files.CONFIG).read_text(encoding="utf-8"))
    except ValueError:  # no JSON, no UTF-8: `files.read_config` says so
        return False
    return isinstance(config, dict) and config.get("model_type") == "t5"


def config_from_huggingface(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `T5Encoder` (without dtype) from a T5's config.json.

    Raises:
        ValueError: another feed-forward than v1.1's, or a size missing.
    """
    projection = config.get("feed_forward_proj")
    if projection != "gated-gelu":
        raise ValueError(f"feed_forward_proj {projection!r}: 'gated-gelu' is needed; take a T5 v1.1 checkpoint.")
    # Files older than the field mean 128, the value that T5 always had.
    config = {"relative_attention_max_distance": 128, **config}
    missing = [theirs for theirs in FIELDS.values() if theirs not in config]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}: restore the checkpoint's own config.json.")
    return {ours: config[theirs] for ours, theirs in FIELDS.items()}


def params_from_huggingface(tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter tree of `T5Encoder(**config)` from flat Hugging Face tensors.

    Raises:
        ValueError: a tensor missing, one that no rule covers, or one of another shape.
    """
    depth = config["depth"]
    wanted = {name.format(i=i) for name in NAMES.values() for i in range(depth)}
    found = {name for name in tensors if not name.startswith(UNUSED) and name != COPY}
    if COPY in tensors and "shared.weight" not in tensors:
        tensors, found = {**tensors, "shared.weight": tensors[COPY]}, found | {"shared.weight"}
    if wanted != found:
        raise ValueError(
            f"tensors missing: {_few(wanted - found)}; unexpected: {_few(found - wanted)}; "
            f"take the checkpoint whose config.json says {depth} layers."
        )
    if COPY in tensors and not np.array_equal(tensors[COPY], tensors["shared.weight"]):
        raise ValueError(f"{COPY}: differs from shared.weight; T5 encoders share the two, take such a checkpoint.")
    expected, convert = shapes(config), converters(config)
    flat = {}
    for ours, theirs in NAMES.items():
        names = [theirs.format(i=i) for i in range(depth)] if "{i}" in theirs else [theirs]
        for name in names:
            if tensors[name].shape != expected[ours]:
                raise ValueError(
                    f"{name}: shape {tensors[name].shape}, config.json asks for {expected[ours]}; "
                    f"take config.json and weights from one checkpoint."
                )
        change = convert.get(ours, lambda x: x)
        leaves = [change(tensors[name]) for name in names]
        flat[ours] = np.stack(leaves) if "{i}" in theirs else leaves[0]
    return files.unflatten(flat)


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


def converters(config: Mapping[str, Any]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
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
    return fields, params_from_huggingface(files.flatten(files.load_params(directory, dtype)), fields)


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if shown else "none"
