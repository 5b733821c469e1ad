"""config.json of a directory → the fields of `RAFT` or `DPT`; ours, and transformers' of a DPT."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.pretrained import files
from videopoet_jax.structure import dpt, raft

FLOW, DEPTH = "videopoet_flow", "videopoet_depth"  # model types of what we save
_MASKS = ("mask2.kernel", "mask_predictor.conv.weight", "update_block.mask.2.weight")

# transformers' defaults (configuration_dpt.py): a config.json need not say them.
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "image_size": 384,
    "patch_size": 16,
    "backbone_out_indices": [2, 5, 8, 11],
    "neck_hidden_sizes": [96, 192, 384, 768],
    "fusion_hidden_size": 256,
}
_BIT_DEFAULTS: dict[str, Any] = {
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 9],
    "num_groups": 32,
}
# Other values mean another network than DPT-Large and DPT-Hybrid are. None: transformers takes the value named here.
_ONLY: dict[str, Any] = {
    "hidden_act": "gelu",
    "readout_type": "project",
    "qkv_bias": True,
    "num_channels": 3,
    "head_in_index": -1,
    "add_projection": False,
    "use_batch_norm_in_fusion_residual": False,
    "use_bias_in_fusion_residual": True,
}
_BIT_ONLY: dict[str, Any] = {"layer_type": "bottleneck", "global_padding": "same", "width_factor": 1}


def flow_fields(directory: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The fields of `RAFT`. Published weights come without a config: those with a mask predictor are RAFT-large's."""
    if (Path(directory) / files.CONFIG).is_file():
        return tuples(files.read_config(directory, FLOW, raft.LARGE))
    return raft.LARGE if any(name in tensors for name in _MASKS) else raft.SMALL


def depth_fields(directory: str | os.PathLike) -> dict[str, Any]:
    """The fields of `DPT`.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: that of another model.
    """
    path = files.resolve(directory) / files.CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        config = None  # `read_config` says so
    if not isinstance(config, dict) or config.get("model_type") != "dpt":
        return tuples(files.read_config(directory, DEPTH, dpt.LARGE))
    return from_transformers(config, str(path))


def from_transformers(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `DPT` from the config.json of `Intel/dpt-large`, `Intel/dpt-hybrid-midas` or one like them.

    Raises:
        ValueError: another kind of DPT, or a size that is none.
    """
    hybrid = bool(config.get("is_hybrid"))
    _check(config, {**_ONLY, "reassemble_factors": [1, 1, 1, 0.5] if hybrid else [4, 2, 1, 0.5]}, where)
    if not hybrid and (config.get("backbone_config") or config.get("backbone")):
        raise ValueError(f"{where}: a DPT with another backbone; DPT-Large and DPT-Hybrid are read, take one of them.")
    known = {**_DEFAULTS, **{key: config[key] for key in _DEFAULTS if config.get(key) is not None}}
    taps = tuple(known["backbone_out_indices"])
    return {
        "patch": known["patch_size"],
        "side": known["image_size"] // known["patch_size"],
        "width": known["hidden_size"],
        "depth": known["num_hidden_layers"],
        "heads": known["num_attention_heads"],
        "mlp_width": known["intermediate_size"],
        "epsilon": known["layer_norm_eps"],
        "taps": taps[2:] if hybrid else taps,
        "neck_widths": tuple(known["neck_hidden_sizes"]),
        "fusion_width": known["fusion_hidden_size"],
        **_resnet(config.get("backbone_config") or {} if hybrid else None, where),
    }


def _resnet(config: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    if config is None:
        return {"resnet_stem": 0, "resnet_widths": (), "resnet_depths": (), "resnet_groups": 0}
    _check({**config, "global_padding": str(config.get("global_padding", "same")).lower()}, _BIT_ONLY, where)
    known = {**_BIT_DEFAULTS, **{key: config[key] for key in _BIT_DEFAULTS if config.get(key) is not None}}
    return {
        "resnet_stem": known["embedding_size"],
        "resnet_widths": tuple(known["hidden_sizes"][:3]),
        "resnet_depths": tuple(known["depths"]),
        "resnet_groups": known["num_groups"],
    }


def _check(config: Mapping[str, Any], only: Mapping[str, Any], where: str) -> None:
    for key, value in only.items():
        if config.get(key) is not None and config[key] != value:
            raise ValueError(f"{where}: {key} is {config[key]!r}, {value!r} is read; take DPT-Large or DPT-Hybrid.")


def tuples(value: Any) -> Any:
    """Lists, which JSON has, as tuples, which a module's fields must be: `[[1, 5]] → ((1, 5),)`"""
    if isinstance(value, dict):
        return {key: tuples(entry) for key, entry in value.items()}
    return tuple(tuples(entry) for entry in value) if isinstance(value, list | tuple) else value
