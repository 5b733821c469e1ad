"""Published weights of RAFT and DPT, as safetensors, into our trees; nothing left over, nothing missing.

    princeton-vl/RAFT  fnet.layer2.0.conv1.weight                            →  features.block2_0.unit1.conv.kernel
    torchvision        feature_encoder.layer2.0.convnormrelu1.0.weight       →  the same, [d c 3 3] → [3 3 c d]
    transformers       dpt.encoder.layer.3.attention.attention.query.weight  →  layer3.query.kernel
                       dpt.embeddings.patch_embeddings.projection.weight     →  patches.kernel, [d 3 p p] → [p·p·3 d]

Our own names are read too. Each layout is a list of substitutions that turn our name into theirs. Files of PyTorch
(.pth, .pt, .bin) are pickles, which are programs: they are not opened.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from videopoet_jax.pretrained import files

Rules = Sequence[tuple[str, str]]  # pattern, replacement; one after the other
PICKLES = (".pth", ".pt", ".bin", ".ckpt")

_LEAVES = [(r"\.(kernel|spread|scale)$", ".weight"), (r"\.mean$", ".running_mean"), (r"\.variance$", ".running_var")]
OURS: Rules = []
TORCHVISION: Rules = [
    (r"^features\.", "feature_encoder."),
    (r"^context\.", "context_encoder."),
    (r"\.stem\.", ".convnormrelu."),
    (r"\.block(\d)_(\d)\.", r".layer\1.\2."),
    (r"\.unit(\d)\.", r".convnormrelu\1."),
    (r"\.shortcut\.", ".downsample."),
    (r"\.conv\.(\w+)$", r".0.\1"),
    (r"\.norm\.(\w+)$", r".1.\1"),
    (r"^(\w+_encoder)\.out\.", r"\1.conv."),
    (r"^update\.motion\.correlation(\d)", r"update_block.motion_encoder.convcorr\1.0"),
    (r"^update\.motion\.flow(\d)", r"update_block.motion_encoder.convflow\1.0"),
    (r"^update\.motion\.out", "update_block.motion_encoder.conv.0"),
    (r"^update\.gru(\d)\.", r"update_block.recurrent_block.convgru\1."),
    (r"\.update\.(\w+)$", r".convz.\1"),
    (r"\.reset\.(\w+)$", r".convr.\1"),
    (r"\.candidate\.(\w+)$", r".convq.\1"),
    (r"^update\.head(\d)", r"update_block.flow_head.conv\1"),
    (r"^mask1", "mask_predictor.convrelu.0"),
    (r"^mask2", "mask_predictor.conv"),
    *_LEAVES,
]
PRINCETON: Rules = [
    (r"^features\.", "fnet."),
    (r"^context\.", "cnet."),
    (r"\.stem\.(conv|norm)\.", r".\g<1>1."),
    (r"\.block(\d)_(\d)\.", r".layer\1.\2."),
    (r"\.unit(\d)\.(conv|norm)\.", r".\2\1."),
    (r"\.shortcut\.conv\.", ".downsample.0."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"^([fc]net)\.out\.", r"\1.conv2."),
    (r"^update\.motion\.correlation(\d)", r"update_block.encoder.convc\1"),
    (r"^update\.motion\.flow(\d)", r"update_block.encoder.convf\1"),
    (r"^update\.motion\.out", "update_block.encoder.conv"),
    (r"^update\.gru(\d)\.update", r"update_block.gru.convz\1"),
    (r"^update\.gru(\d)\.reset", r"update_block.gru.convr\1"),
    (r"^update\.gru(\d)\.candidate", r"update_block.gru.convq\1"),
    (r"^update\.head(\d)", r"update_block.flow_head.conv\1"),
    (r"^mask1", "update_block.mask.0"),
    (r"^mask2", "update_block.mask.2"),
    *_LEAVES,
]
PRINCETON_SMALL: Rules = [*PRINCETON, (r"\.gru\.conv([zrq])1\.", r".gru.conv\1.")]  # has but one GRU
_BIT = "dpt.embeddings.backbone.bit"
TRANSFORMERS: Rules = [
    (r"^positions$", "dpt.embeddings.position_embeddings"),
    (r"^class_token$", "dpt.embeddings.cls_token"),
    (r"^patches", "dpt.embeddings.patch_embeddings.projection"),
    (r"^layer(\d+)\.(query|key|value)", r"dpt.encoder.layer.\1.attention.attention.\2"),
    (r"^layer(\d+)\.out", r"dpt.encoder.layer.\1.attention.output.dense"),
    (r"^layer(\d+)\.up", r"dpt.encoder.layer.\1.intermediate.dense"),
    (r"^layer(\d+)\.down", r"dpt.encoder.layer.\1.output.dense"),
    (r"^layer(\d+)\.norm1", r"dpt.encoder.layer.\1.layernorm_before"),
    (r"^layer(\d+)\.norm2", r"dpt.encoder.layer.\1.layernorm_after"),
    (r"^reassemble(\d)\.readout", r"neck.reassemble_stage.readout_projects.\1.0"),
    (r"^reassemble(\d)\.project", r"neck.reassemble_stage.layers.\1.projection"),
    (r"^reassemble(\d)\.resize", r"neck.reassemble_stage.layers.\1.resize"),
    (r"^level(\d)", r"neck.convs.\1"),
    (r"^fusion(\d)\.project", r"neck.fusion_stage.layers.\1.projection"),
    (r"^fusion(\d)\.residual(\d)\.conv(\d)", r"neck.fusion_stage.layers.\1.residual_layer\2.convolution\3"),
    (r"^head1", "head.head.0"),
    (r"^head2", "head.head.2"),
    (r"^head3", "head.head.4"),
    *_LEAVES,
]
TRANSFORMERS_HYBRID: Rules = [
    (r"^patches", "dpt.embeddings.projection"),
    (r"^resnet\.stem\.kernel", f"{_BIT}.embedder.convolution.kernel"),
    (r"^resnet\.stem\.norm", f"{_BIT}.embedder.norm"),
    (r"^resnet\.stage(\d)_(\d+)\.", rf"{_BIT}.encoder.stages.\1.layers.\2."),
    (r"\.unit(\d)\.kernel", r".conv\1.kernel"),
    (r"\.unit(\d)\.norm", r".norm\1"),
    (r"\.shortcut\.kernel", ".downsample.conv.kernel"),
    (r"\.shortcut\.norm", ".downsample.norm"),
    *TRANSFORMERS,
]
# What the files hold and the networks do not use: counters, a norm behind the last tap, a unit without an input.
UNUSED = (
    r"\.num_batches_tracked$",
    r"^dpt\.layernorm\.",
    r"^neck\.fusion_stage\.layers\.0\.residual_layer1\.",
)
# In RAFT's own files the norm of a shortcut stands a second time, under the name on the left.
_TWICE = (r"^(cnet\.layer\d\.0)\.norm3\.", r"\1.downsample.1.")


def rename(name: str, rules: Rules) -> str:
    """`features.out.kernel`, TORCHVISION → `feature_encoder.conv.weight`"""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a directory's model.safetensors (or of its shards), by the names in the file, as float32.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: a damaged file, a pickle, or numbers that are no floats.
    """
    path = Path(path)
    directory = path if path.is_dir() else path.parent
    whole = path.is_dir() and any((path / name).is_file() for name in (files.WEIGHTS, files.INDEX))
    pickles = [path] if path.is_file() else sorted(p for p in directory.glob("*") if p.suffix in PICKLES)
    pickles = [p for p in pickles if p.suffix in PICKLES]
    if pickles and not whole:
        raise ValueError(
            f"{pickles[0]}: a pickle, which can run programs, is not read; convert it once where you trust it: "
            f'python -c "import torch; from safetensors.torch import save_file; t = torch.load({pickles[0].name!r}, '
            f"map_location='cpu', weights_only=True); save_file({{k: v.clone().contiguous() for k, v in t.items()}}, "
            f"'{files.WEIGHTS}')\""
        )
    stored = files.open_params(path)
    tensors = {name: stored.read(name) for name in stored.shapes}
    odd = [name for name, x in tensors.items() if x.dtype != np.float32 and not name.endswith("num_batches_tracked")]
    if odd:
        raise ValueError(f"{path}: {odd[0]} holds {tensors[odd[0]].dtype}, not floats; take the published weights.")
    return {name.removeprefix("module."): x for name, x in tensors.items()}


def choose(tensors: Mapping[str, np.ndarray], layouts: Mapping[str, Rules], where: str) -> Rules:
    """The rules of the layout that one of the tensors shows: `{"fnet.conv1.weight": PRINCETON, …}`.

    Raises:
        ValueError: none of them is there.
    """
    for mark, rules in layouts.items():
        if mark in tensors:
            return rules
    raise ValueError(
        f"{where}: weights of another network (it has {_few(set(tensors))}); one that has "
        f"{' or '.join(layouts)} is needed."
    )


def tree(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Any], rules: Rules, where: str) -> dict[str, Any]:
    """The parameter tree of `shapes` (leaves with a .shape) from tensors that `rules` name.

    Raises:
        ValueError: a tensor missing, one that no rule covers, or one of another shape.
    """
    found = {name: x for name, x in tensors.items() if not any(re.search(pattern, name) for pattern in UNUSED)}
    for name in [name for name in found if re.search(_TWICE[0], name)]:
        x, again = found.pop(name), rename(name, [_TWICE])
        if not np.array_equal(found.setdefault(again, x), x):
            raise ValueError(f"{where}: {name} and {again} differ, RAFT shares them; take the published weights.")
    wanted = {rename(ours, rules): (ours, leaf.shape) for ours, leaf in files.flatten(shapes).items()}
    if wanted.keys() != found.keys():
        raise ValueError(
            f"{where}: tensors missing: {_few(wanted.keys() - found.keys())}; unexpected: "
            f"{_few(found.keys() - wanted.keys())}; take config and weights of one network."
        )
    flat = {}
    for theirs, (ours, shape) in wanted.items():
        flat[ours] = found[theirs] if rules is OURS else converted(found[theirs], ours.rsplit(".", 1)[-1], shape)
        if flat[ours].shape != shape:
            raise ValueError(
                f"{where}: {theirs} has shape {found[theirs].shape}, which is {flat[ours].shape} here; the network has "
                f"{shape}; take config and weights of one network."
            )
    return files.unflatten(flat)


def converted(x: np.ndarray, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's order of axes → ours.

    [o i] → [i o];  [o i h w] → [h w i o], or [h·w·i o] where the shape has two sizes;  transposed [i o h w] → [i h w o]
    """
    if leaf == "kernel" and x.ndim in (2, 4):
        x = np.moveaxis(x, (0, 1), (-1, -2))
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]) if len(shape) == 2 else x)
    if leaf == "spread" and x.ndim == 4:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return x


def shapes_of(init: Any, where: str) -> dict[str, Any]:
    """Shapes of the parameters that `init(key)` makes, without making them.

    Raises:
        ValueError: what config.json describes is no network.
    """
    from flax.core import meta

    try:
        return meta.unbox(jax.eval_shape(init, jax.random.key(0)))["params"]
    except Exception as error:  # whatever odd sizes lead the modules to
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where}: its config describes no network ({reason}); restore the config.json.") from error


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if shown else "none"
