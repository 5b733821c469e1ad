"""Pixels of `moving_digits`: handwritten digits as smooth functions of the plane, sampled wherever they stand.

`coverage` gives how much of each pixel one digit covers; `composite` paints digits, back to front, over a background.
A digit image is 8×8 cells. Bicubic interpolation is separable, so a digit at any sub-pixel place is two small matrix
products with the cells: nothing is shifted, rounded or cached, and every frame size takes the same path.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

CELLS = 8
INK_REACH = CELLS / 2 + 0.5  # cells from the centre at which the interpolated ink has certainly ended
GAIN = 1.25  # ours: strokes of the scans peak unevenly; this makes their cores solid and leaves their edges soft

# ours: the primaries softened a little, because pure blue is nearly black to the eye and to a video codec's luma
TINTS = {
    "red": (255, 48, 48),
    "green": (48, 224, 64),
    "blue": (64, 96, 255),
    "yellow": (255, 224, 32),
    "cyan": (32, 224, 240),
    "magenta": (240, 64, 240),
    "white": (255, 255, 255),
}


@functools.cache
def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 scans [i 8 8] in [0, 1] and their classes [i] (scikit-learn's copy, inside its wheel)."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    return np.asarray(scans.images, np.float32) / 16.0, np.asarray(scans.target, np.int64)


def cubic(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Keys' cubic convolution kernel (a = -1/2): interpolates, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0)).astype(np.float32)


def sampling(centres: Float[np.ndarray, " t"], length: int, cell: float) -> Float[np.ndarray, "t length 8"]:
    """Weights of the 8 cells in each of `length` pixels; the digit is centred at `centres`, a cell is `cell` pixels."""
    offsets = (np.arange(length) - centres[:, None]) / cell + (CELLS - 1) / 2  # in cells
    stretch = max(1.0, 1.0 / cell)  # frames smaller than the scan: widen the kernel, so that nothing aliases
    return cubic((offsets[..., None] - np.arange(CELLS)) / stretch) / np.float32(stretch)


def coverage(
    image_index: int, positions: Float[np.ndarray, "t 2"], cell: float, height: int, width: int
) -> Float[np.ndarray, "t h w"]:
    """How far (0 to 1) each pixel is covered by a digit whose centre is at `positions` (x, y), pixel centres whole."""
    rows = sampling(positions[:, 1], height, cell)
    columns = sampling(positions[:, 0], width, cell)
    ink = digit_images()[0][image_index]
    covered = (rows @ ink) @ columns.transpose(0, 2, 1)
    return np.clip(GAIN * covered, 0.0, 1.0)


def composite(
    background: UInt8[np.ndarray, "t h w 3"] | None,
    layers: Sequence[tuple[str, Float[np.ndarray, "t h w"]]],
) -> UInt8[np.ndarray, "t h w 3"]:
    """Paint (colour, coverage) layers, the first named in front, over a background (None: black)."""
    if background is None and len(layers) == 1:  # the common case, by a table of 256 shades
        colour, alpha = layers[0]
        shades = np.round(np.arange(256)[:, None] / 255.0 * np.asarray(TINTS[colour])).astype(np.uint8)
        return shades[(alpha * 255.0 + 0.5).astype(np.uint8)]
    shape = (*layers[0][1].shape, 3)
    canvas = np.zeros(shape, np.float32) if background is None else background.astype(np.float32)
    for colour, alpha in reversed(layers):
        canvas += alpha[..., None] * (np.asarray(TINTS[colour], np.float32) - canvas)
    return (canvas + 0.5).astype(np.uint8)
