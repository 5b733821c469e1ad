"""A clip seen in another way: nearer and off the middle, mirrored, in another light; the same for all of its frames.

in   example {"video": uint8 [t h w 3], …}, as large as its widest view
out  the example, its video uint8 [t height width 3]
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from videopoet_jax.data.media import fit

Example = dict[str, Any]


def make_augment(
    *, height: int, width: int, widest: float, mirror: bool, tint: float
) -> Callable[[Example, np.random.Generator], Example]:
    """The random transform `(example, rng) → example`. Not in the papers; ours: a folder holds few clips.

    Args:
        height, width: of what comes out. What goes in may be larger: a view is a part of it, from anywhere.
        widest: the largest view, as a share of the picture's sides, 1 the whole; the smallest has `height` × `width`
            pixels. With a small share a model sees the detail of large pictures at the cost of small ones.
        mirror: half of the clips have left and right exchanged. Not for captions that tell them apart.
        tint: each colour's brightness changes by a factor between e^-tint and e^tint.
    """

    def augment(example: Example, rng: np.random.Generator) -> Example:
        video = view(example["video"], height, width, widest, rng)
        if mirror and rng.random() < 0.5:
            video = video[:, :, ::-1]
        if tint:
            video = relit(video, np.exp(rng.uniform(-tint, tint, 3)))
        return {**example, "video": np.ascontiguousarray(video)}

    return augment


def one_frame(
    augment: Callable[[Example, np.random.Generator], Example] | None,
) -> Callable[[Example, np.random.Generator], Example]:
    """The random transform that takes one frame of a clip, then augments it: uint8 [t h w 3] → [1 h w 3]."""

    def choose(example: Example, rng: np.random.Generator) -> Example:
        frame = int(rng.integers(len(example["video"])))
        chosen = {**example, "video": example["video"][frame : frame + 1]}
        return augment(chosen, rng) if augment else chosen

    return choose


def view(
    video: UInt8[np.ndarray, "t h w 3"], height: int, width: int, widest: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """A part of the picture, between height × width pixels and the share `widest`, resized to height × width."""
    t, h, w, _ = video.shape
    if h < height or w < width:
        raise ValueError(
            f"{h}×{w} frames: a view of {height}×{width} needs at least as many pixels; decode larger ones."
        )
    least = max(height / h, width / w)
    if not least <= widest <= 1:
        raise ValueError(
            f"a widest view of {widest:g}: a share of the picture's sides from {least:g} ({height}×{width} of {h}×{w}) "
            f"to 1 is needed."
        )
    share = rng.uniform(least, widest)
    part_h, part_w = round(h * share), round(w * share)
    top, left = (int(rng.integers(side + 1)) for side in (h - part_h, w - part_w))
    return np.stack([fit(frame, height, width) for frame in video[:, top : top + part_h, left : left + part_w]])


def relit(video: UInt8[np.ndarray, "t h w 3"], factors: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Each colour times its factor.  `200 200 200, (0.5, 1, 2) → 100 200 255`"""
    levels = np.minimum(np.arange(256)[:, None] * factors, 255).round().astype(np.uint8)
    return np.stack([levels[video[..., c], c] for c in range(3)], axis=-1)
