"""Weights of published text language models as the start of ours: Llama, Gemma and Qwen3, in Hugging Face's files.

    model.layers.{i}.self_attn.q_proj.weight  [m·e d]  →  layers.attention.query  [layers d m e]
    model.layers.{i}.mlp.down_proj.weight     [d mlp]  →  layers.mlp.down         [layers mlp d]
    model.embed_tokens.weight                 [v d]    →  input.special_text      rows 256 …: the text pieces
    lm_head.weight, or the embedding if tied  [v d]    →  output.special_text     rows 256 …

What a text model lacks is new: special tokens, pictures, sound, the projection of text embeddings. New tables are drawn
as wide as the model's own, so that no token is louder than another. Places and modalities are added from zero on: the
model's text has the logits that it had. Gemma's norms multiply by 1 + weight; the sum is what is kept.

Refused, because `PrefixLM` computes something else: Gemma 2 and 3 (local layers, norms behind layers), biases.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.pretrained import files
from videopoet_jax.pretrained.renamed import renamed
from videopoet_jax.sequence.vocabulary import VISUAL_OFFSET

FAMILIES = ("llama", "gemma", "qwen3")
ACTIVATIONS = {"silu": "silu", "gelu": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}  # Gemma's "gelu" is tanh's

_LAYER = "model.layers.{i}."
NAMES = {
    "norm.scale": "model.norm.weight",
    "layers.attention_norm.scale": _LAYER + "input_layernorm.weight",
    **{f"layers.attention.{o}": f"{_LAYER}self_attn.{o[0]}_proj.weight" for o in ("query", "key", "value", "out")},
    "layers.mlp_norm.scale": _LAYER + "post_attention_layernorm.weight",
    **{f"layers.mlp.{o}": f"{_LAYER}mlp.{o}_proj.weight" for o in ("gate", "up", "down")},
}
QK_NORMS = {f"layers.attention.{o}_norm.scale": f"{_LAYER}self_attn.{o[0]}_norm.weight" for o in ("query", "key")}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
UNUSED = "rotary_emb.inv_freq"  # old files hold the frequencies of every layer
AS_IT_IS = ("input.", "output.", "positions.")  # what comes from the model's own initializers
SMALL = 0.02  # with which those draw tables


def is_huggingface(directory: str | os.PathLike) -> bool:
    """Whether the directory has Hugging Face's config.json of a language model; ours is named otherwise."""
    try:
        config = json.loads((Path(directory) / files.CONFIG).read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):  # no JSON, no UTF-8: `files.read_config` says so
        return False
    return isinstance(config, dict) and any("CausalLM" in str(a) for a in config.get("architectures") or ())


def fields_from_huggingface(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `PrefixLM` that a text model's config.json decides.

    Raises:
        ValueError: another family, a part that `PrefixLM` lacks, or a size missing.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(f"model_type {family!r}: no backbone of ours; take a model of {', '.join(FAMILIES)}.")
    rope = config.get("rope_parameters") or {**config, **(config.get("rope_scaling") or {})}
    try:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        fields = dict(
            text_pieces=config["vocab_size"],
            depth=config["num_hidden_layers"],
            width=width,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or width // heads,
            mlp=config["intermediate_size"],
            qk_norm=family == "qwen3",
            activation=config.get("hidden_activation") or config["hidden_act"],
            embedding_scale=math.sqrt(width) if family == "gemma" else 1.0,
            rotary_bases=(float(rope["rope_theta"]),),
            rotary_stretch=stretch_of(rope),
            epsilon=config["rms_norm_eps"],
        )
    except KeyError as error:
        raise ValueError(f"config.json lacks {error.args[0]}: restore the checkpoint's own config.json.") from error
    for part in ("attention_bias", "mlp_bias", "use_sliding_window"):
        if config.get(part):
            raise ValueError(f"{part} {config[part]}: our layers have none; take a model without.")
    if (named := fields["activation"]) not in ACTIVATIONS:
        raise ValueError(f"hidden_act {named!r}: need one of {', '.join(ACTIVATIONS)}; take such a model.")
    return fields | {"activation": ACTIVATIONS[named], "rotary_sections": (fields["head_dim"],)}


def stretch_of(rope: Mapping[str, Any]) -> tuple[float, ...]:
    """`rotary_stretch` from a config.json's words on rotary positions."""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return ()
    if kind != "llama3":
        raise ValueError(f"rope_type {kind!r}: 'default' and 'llama3' are read; take a model of one of them.")
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return tuple(float(rope[name]) for name in names)


def load_huggingface(directory: str | os.PathLike, model: PrefixLM, key: PRNGKeyArray) -> dict[str, Any]:
    """Parameters of `model` that start from a text model's: arrays on the host, one tensor read at a time.

    A model without text pieces leaves the text model's tables out.

    Args:
        key: of what is new.

    Raises:
        ValueError: a model of other numbers, and see `fields_from_huggingface` and `pretrained.renamed`.
    """
    config = json.loads((Path(directory) / files.CONFIG).read_text(encoding="utf-8"))
    fields = fields_from_huggingface(config)
    wanted = {name: value for name, value in fields.items() if name != "text_pieces" or model.text_pieces}
    wrong = {name: value for name, value in wanted.items() if getattr(model, name) != value}
    if wrong:
        settings = " ".join(f"--set model.{n}={v}".replace(", ", ",").replace(" (", "(") for n, v in wrong.items())
        raise ValueError(f"{directory}: its model differs from the config in {', '.join(wrong)}; {settings}.")
    tied = config.get("tie_word_embeddings", config["model_type"] == "gemma")
    return _assemble(files.open_params(directory), model, fields, tied, config["model_type"] == "gemma", key)


def _assemble(
    stored: files.Stored, model: PrefixLM, fields: Mapping[str, Any], tied: bool, one_more: bool, key: PRNGKeyArray
) -> dict[str, Any]:
    leave = (UNUSED, HEAD) if tied else (UNUSED,)
    present = {name: shape for name, shape in stored.shapes.items() if not name.endswith(leave)}
    tables = {"text": EMBEDDING} if tied else {"text": EMBEDDING, "scores": HEAD}
    names = {**NAMES, **(QK_NORMS if model.qk_norm else {}), **tables}
    whole = f"a whole checkpoint of a text language model of {model.depth} layers"
    convert = converters(model, one_more)
    theirs = renamed(stored._replace(shapes=present), names, model.depth, shapes(model, fields), convert, whole)
    text = theirs.pop("text")
    return files.unflatten(theirs | new_arrays(model, text, theirs.pop("scores", text), key))


def shapes(model: PrefixLM, fields: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor in the file (of one layer), by our name; `text` and `scores` are its tables."""
    d, e = model.width, model.head_dim
    heads = {"query": model.heads, "key": model.kv_heads, "value": model.kv_heads}
    return {
        **dict.fromkeys(("norm.scale", "layers.attention_norm.scale", "layers.mlp_norm.scale"), (d,)),
        **dict.fromkeys(QK_NORMS, (e,)),
        **{f"layers.attention.{name}": (m * e, d) for name, m in heads.items()},
        "layers.attention.out": (d, model.heads * e),
        **{f"layers.mlp.{name}": (model.mlp, d) for name in ("gate", "up")},
        "layers.mlp.down": (d, model.mlp),
        **dict.fromkeys(("text", "scores"), (fields["text_pieces"], d)),
    }


def converters(model: PrefixLM, one_more: bool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What turns a torch Linear's [out in] into our kernel, and, with `one_more`, an offset from 1 into a gain."""
    d, e = model.width, model.head_dim
    gains = [name for name in (*NAMES, *QK_NORMS) if name.endswith("scale")] if one_more else []
    return {
        **{f"layers.attention.{name}": lambda x: x.T.reshape(d, -1, e) for name in ("query", "key", "value")},
        "layers.attention.out": lambda x: x.T.reshape(-1, e, d),
        **{f"layers.mlp.{name}": np.transpose for name in ("gate", "up", "down")},
        **dict.fromkeys(gains, lambda x: 1 + x),
    }


def new_arrays(model: PrefixLM, text: np.ndarray, scores: np.ndarray, key: PRNGKeyArray) -> dict[str, np.ndarray]:
    """The tables and whatever else a text model lacks, by name; `text` and `scores` [v d] are its own tables."""
    from videopoet_jax.lm.language_model import init_params

    def drawn(key: PRNGKeyArray) -> dict[str, jax.Array]:
        flat = files.flatten(nn.meta.unbox(init_params(model, key)))
        return {name: value for name, value in flat.items() if name.startswith(AS_IT_IS)}

    new = {name: np.array(value) for name, value in jax.jit(drawn)(key).items()}  # of the rest nothing is computed
    for side, table in (("input", text), ("output", scores)):
        for name in (f"{side}.{kind}" for kind in ("special_text", "visual", "audio")):
            if name in new:
                new[name] *= np.std(table) / SMALL
        if model.text_pieces:
            new[f"{side}.special_text"][VISUAL_OFFSET : VISUAL_OFFSET + len(table)] = table
    new["input.text_projection"] *= np.std(text)  # of embeddings of size 1
    return {name: np.zeros_like(value) if name.startswith("positions.") else value for name, value in new.items()}
