"""`Flow` and `Depth`: a clip in, what moves where and what is near out; stylization reads them.

    flow = Flow.from_pretrained("raft-large")(video)      uint8 [t h w 3]  →  float32 [t h w 2], pixels
    near = Depth.from_pretrained("dpt-large")(video)      uint8 [t h w 3]  →  float32 [t h w], 0 far … 1 near

A directory holds model.safetensors, in our names, in torchvision's or princeton-vl's (RAFT), or in transformers' (DPT,
beside its config.json). All is computed in float32, frames in batches whose size hangs on that of the picture alone:
one program for clips of every length, and the memory is bounded. A batch holds frames of one clip, so that a clip gives
the same numbers whatever comes before it (a frame at another place of a batch may be rounded otherwise).
"""

import functools
import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from videopoet_jax.layers.precision import products_in
from videopoet_jax.pretrained import files, save_params
from videopoet_jax.structure import configs, weights
from videopoet_jax.structure.dpt import DPT
from videopoet_jax.structure.raft import FACTOR, RAFT

UPDATES = 20  # of the flow, as in RAFT's demo.py
LEAST_SIDE = 128  # RAFT saw no smaller pictures, and torchvision's gives NaN for them
MOST_PIXELS = 1280 * 736  # of one frame: the comparisons of all pairs of features of 720p are 1.1 GB
BATCH_PIXELS = 1 << 18  # ours: 16 pairs of 128×128, one of 480p
DEPTH_BATCH_PIXELS = 1 << 19  # ours: 3 pictures of 384×384, which take about 1 GB
MOST_STRETCHED = 4  # a longer side of a picture over its shorter one

RAFT_LAYOUTS = {
    "features.stem.conv.kernel": weights.OURS,
    "feature_encoder.convnormrelu.0.weight": weights.TORCHVISION,
    "update_block.gru.convz1.weight": weights.PRINCETON,
    "update_block.gru.convz.weight": weights.PRINCETON_SMALL,
}
DPT_LAYOUTS = {
    "patches.kernel": weights.OURS,
    "dpt.embeddings.patch_embeddings.projection.weight": weights.TRANSFORMERS,
    "dpt.embeddings.projection.weight": weights.TRANSFORMERS_HYBRID,
}


Made = TypeVar("Made", bound="_Network")


class _Network:
    """A network and its weights; the classes below say which one, and what it makes of a clip."""

    MODULE: ClassVar[type[nn.Module]]
    MODEL_TYPE: ClassVar[str]
    LAYOUTS: ClassVar[Mapping[str, weights.Rules]]  # a tensor that one layout alone has → the names of that layout

    def __init__(self, config: Mapping[str, Any], params: Mapping[str, Any]):
        self.config, self.model, self.params = dict(config), self.MODULE(**config), jax.tree.map(jnp.asarray, params)

    @classmethod
    def from_pretrained(cls: type[Made], directory: str | os.PathLike) -> Made:
        """From a directory with published weights, or one of `save_pretrained`.

        Raises:
            FileNotFoundError, ValueError: see `weights` and `configs`.
        """
        (config, tensors, rules), where = cls.read(directory), os.fspath(directory)
        shapes = weights.shapes_of(lambda key: cls.MODULE(**config).init(key, *cls._inputs(config)), where)
        return cls(config, weights.tree(tensors, shapes, rules, where))

    @classmethod
    def read(cls, directory: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray], weights.Rules]:
        """The fields of the module, the tensors by their names in the file, and the layout of these names.

        No device is touched, so that whoever has others compute can see whether the directory is the right one.
        """
        tensors = weights.read(directory)
        config = cls._fields(directory, tensors)
        return config, tensors, weights.choose(tensors, cls.LAYOUTS, os.fspath(directory))

    def save_pretrained(self, directory: str | os.PathLike) -> None:
        """Writes config.json and model.safetensors, in our names."""
        save_params(directory, self.params, "float32")
        files.write_config(directory, self.MODEL_TYPE, self.config)


class Flow(_Network):
    """RAFT-large or RAFT-small, published without a config.json: the weights tell them apart."""

    MODULE, MODEL_TYPE, LAYOUTS = RAFT, configs.FLOW, RAFT_LAYOUTS
    _fields = staticmethod(configs.flow_fields)

    @staticmethod
    def _inputs(config: Mapping[str, Any]) -> tuple[Any, ...]:
        picture = jnp.zeros((1, LEAST_SIDE, LEAST_SIDE, 3))
        return picture, picture, 1

    def __call__(self, video: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w 2"]:
        """Pixels from each frame to the next, x to the right and y down; the last frame repeats the one before it.

        A clip of one frame does not move: zeros. Frames are padded to multiples of 8, and to 128, by repeating their
        borders, evenly on both sides (RAFT's InputPadder).

        Raises:
            ValueError: no frames, or larger ones than 1280×736.
        """
        t, h, w = _check(video)
        if h * w > MOST_PIXELS:
            raise ValueError(f"{h}×{w} frames: RAFT compares all pairs of places, at most {MOST_PIXELS:,} pixels fit.")
        if t == 1:
            return np.zeros((1, h, w, 2), np.float32)
        around = [(0, 0), *(_evenly(-size % FACTOR + max(0, LEAST_SIDE - size - -size % FACTOR)) for size in (h, w))]
        padded = np.pad(video, [*around, (0, 0)], mode="edge")
        rows = max(1, BATCH_PIXELS // (padded.shape[1] * padded.shape[2]))
        top, left = around[1][0], around[2][0]
        found = _in_batches(functools.partial(_flow, self.model, UPDATES, self.params), rows, padded[:-1], padded[1:])
        flow = found[:, top : top + h, left : left + w]
        return np.concatenate([flow, flow[-1:]])


class Depth(_Network):
    """DPT-Large or DPT-Hybrid, as their config.json says."""

    MODULE, MODEL_TYPE, LAYOUTS = DPT, configs.DEPTH, DPT_LAYOUTS

    @staticmethod
    def _fields(directory: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return configs.depth_fields(directory)

    @staticmethod
    def _inputs(config: Mapping[str, Any]) -> tuple[Any, ...]:
        return (jnp.zeros((1, 2 * config["patch"], 2 * config["patch"], 3)),)

    def __call__(self, video: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w"]:
        """How near each pixel is: 0 the farthest of the clip, 1 the nearest, 0 everywhere if all are as far.

        DPT gives inverse depth up to a scale and a shift that it does not tell, and each frame for itself; the clip's
        least and greatest become 0 and 1, so values of two clips do not compare.

        Raises:
            ValueError: no frames, or a side more than four times the other.
        """
        _, h, w = _check(video)
        if max(h, w) > MOST_STRETCHED * min(h, w):
            raise ValueError(f"{h}×{w} frames: no side may be over {MOST_STRETCHED} times the other; crop them.")
        size = working_size(h, w, self.model.side * self.model.patch, 2 * self.model.patch)
        rows = max(1, DEPTH_BATCH_PIXELS // (size[0] * size[1]))
        near = _in_batches(functools.partial(_nearness, self.model, self.params, size), rows, video)
        least, span = near.min(), np.ptp(near)
        return (near - least) / span if span > 0 else np.zeros_like(near)


ESTIMATORS = {"flow": Flow, "depth": Depth}  # by what they find, as views of a clip name it


def working_size(h: int, w: int, side: int, multiple: int) -> tuple[int, int]:
    """The size that DPT works at: one side about `side`, the one for which the picture changes less; aspect kept.

    `128×224 → 224×384, 480×854 → 384×672, 720×1280 → 384×672` (384, multiples of 32), as isl-org/DPT's `Resize` does
    with keep_aspect_ratio and resize_method "minimal" (run_monodepth.py).
    """
    scale = min(side / h, side / w, key=lambda scale: abs(1 - scale))
    return max(multiple, round(h * scale / multiple) * multiple), max(multiple, round(w * scale / multiple) * multiple)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _flow(
    model: RAFT, updates: int, params: Any, first: UInt8[Array, "b h w 3"], second: UInt8[Array, "b h w 3"]
) -> Float[Array, "b h w 2"]:
    with products_in(jnp.float32):
        return model.apply({"params": params}, *(x.astype(jnp.float32) / 127.5 - 1 for x in (first, second)), updates)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _nearness(model: DPT, params: Any, size: tuple[int, int], frames: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w"]:
    """At `size`, and back. Cubic both ways, as in MiDaS; ours: smoothed where a picture gets smaller."""
    b, h, w, _ = frames.shape
    with products_in(jnp.float32):
        x = jax.image.resize(frames.astype(jnp.float32) / 127.5 - 1, (b, *size, 3), "cubic")
        return jax.image.resize(model.apply({"params": params}, x), (b, h, w), "cubic")


def _in_batches(compute: Any, rows: int, *frames: UInt8[np.ndarray, "t h w 3"]) -> np.ndarray:
    """`compute` of `rows` frames at a time, the last ones repeated until they are as many."""
    count = len(frames[0])
    found = []
    for i in range(0, count, rows):
        chosen = np.minimum(np.arange(i, i + rows), count - 1)
        found.append(np.asarray(compute(*(x[chosen] for x in frames)))[: count - i])
    return np.concatenate(found)


def _check(video: UInt8[np.ndarray, "t h w 3"]) -> tuple[int, int, int]:
    if not video.size:
        raise ValueError(f"a clip of shape {video.shape}: at least one frame with pixels is needed.")
    return video.shape[:3]


def _evenly(size: int) -> tuple[int, int]:
    return size // 2, size - size // 2
