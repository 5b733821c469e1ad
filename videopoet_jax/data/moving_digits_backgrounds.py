"""Photographs behind `moving_digits`: pictures that scikit-image and scikit-learn carry inside their wheels."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, UInt8

DIM = 0.6  # ours: photographs are darkened a little, so that every tint stands out before them


@functools.cache
def picture(name: str) -> UInt8[np.ndarray, "h w 3"]:
    """A photograph by name."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    else:
        import skimage.data

        image = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    image = np.asarray(image)
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3]


@functools.lru_cache(maxsize=64)
def shrunk(name: str, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    """A photograph at another size, smoothly."""
    from PIL import Image

    resized = Image.fromarray(picture(name)).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32)


def bounce_index(places: Float[np.ndarray, "t n"], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower neighbour and fraction of places on a line that is mirrored at both ends, so that a pan never runs out."""
    period = 2 * (length - 1)
    folded = np.mod(places, period)
    folded = np.where(folded > length - 1, period - folded, folded)
    lower = np.minimum(folded.astype(np.int64), length - 2)
    return lower, (folded - lower).astype(np.float32)


def slide(
    name: str,
    crop: tuple[float, float, float],
    pan: tuple[float, float],
    num_frames: int,
    height: int,
    width: int,
) -> UInt8[np.ndarray, "t h w 3"]:
    """A crop of a photograph that moves by `pan` (x, y) pixels a frame."""
    zoom, x, y = crop
    source = picture(name)
    # between one and one and a half times the frame, in a few sizes so that the cache holds them
    scale = (1.0 + 0.125 * round(4 * zoom)) * max(height / source.shape[0], width / source.shape[1])
    image = shrunk(name, *(max(2, int(np.ceil(s * scale))) for s in source.shape[:2]))
    steps = np.arange(num_frames if any(pan) else 1)[:, None]
    rows = y * max(0, image.shape[0] - height) - pan[1] * steps + np.arange(height)
    columns = x * max(0, image.shape[1] - width) - pan[0] * steps + np.arange(width)
    (top, down), (left, across) = bounce_index(rows, image.shape[0]), bounce_index(columns, image.shape[1])
    strips = [
        (lambda r: r[:, b] * (1 - fx) + r[:, b + 1] * fx)(image[a] * (1 - fy) + image[a + 1] * fy)
        for a, fy, b, fx in zip(top, down[..., None, None], left, across[..., None], strict=True)
    ]
    frames = (np.stack(strips) * DIM + 0.5).astype(np.uint8)
    return np.broadcast_to(frames, (num_frames, height, width, 3))
