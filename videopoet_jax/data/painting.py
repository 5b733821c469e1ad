"""Holes in clips, for inpainting, outpainting and editing: True where pixels are taken away.

[VP] paints as COMMIT does (MAGVIT, Yu et al. 2023): what is shown are the tokens of the clip with the hole in its
*pixels*, what is to be written those of the whole clip. The regions are MAGVIT's, on a picture of 4×4, dynamic ones in
the first and in the last frame:

    central    horizontal  vertical   dynamic          dynamic_central
    . . . .    . . . .     . # # .    # # . .  . . # #    . . . .  . . . .
    . # # .    # # # #     . # # .    # # . .  . . # #    # # . .  . . # #
    . # # .    # # # #     . # # .    # # . .  . . # #    # # . .  . . # #
    . . . .    . . . .     . # # .    # # . .  . . # #    . . . .  . . . .

Inpainting takes a region away, outpainting everything else.
"""

import numpy as np
from jaxtyping import Bool, UInt8

REGIONS = ("central", "horizontal", "vertical", "dynamic", "dynamic_central")
# MAGVIT pads with black. Ours: grey, for much of the world is black, and a hole in it would not be seen.
FILL = 128
LEAST_BOX = 0.25  # ours: of each side of what is edited; less is hardly a token


def region(name: str, frames: int, height: int, width: int) -> Bool[np.ndarray, "t h w"]:
    """A region of `REGIONS`.

    Raises:
        ValueError: another name.
    """
    if name not in REGIONS:
        raise ValueError(f"region {name!r}: unknown; use one of {', '.join(REGIONS)}.")
    rows, columns = ((np.arange(n) >= n // 4) & (np.arange(n) < n * 3 // 4) for n in (height, width))
    rows = rows if name in ("central", "horizontal", "dynamic_central") else np.ones(height, bool)
    columns = np.broadcast_to(columns if name in ("central", "vertical") else np.ones(width, bool), (frames, width))
    if name.startswith("dynamic"):  # half as wide as the picture, from its left to its right
        start = np.round(np.linspace(0, width // 2, frames)).astype(int)[:, None]
        columns = (np.arange(width) >= start) & (np.arange(width) < start + width // 2)
    return rows[None, :, None] & columns[:, None, :]


def inpainting(name: str, frames: int, height: int, width: int) -> Bool[np.ndarray, "t h w"]:
    """The hole is the region."""
    return region(name, frames, height, width)


def outpainting(name: str, frames: int, height: int, width: int) -> Bool[np.ndarray, "t h w"]:
    """The hole is all but the region."""
    return ~region(name, frames, height, width)


def box(frames: int, height: int, width: int, rng: np.random.Generator) -> Bool[np.ndarray, "t h w"]:
    """A box of time and space anywhere, a quarter to the whole of each side, but never everything. Ours."""
    while True:
        hole = np.ones((frames, height, width), bool)
        for axis, size in enumerate(hole.shape):
            length = max(1, round(size * rng.uniform(LEAST_BOX, 1)))
            start = int(rng.integers(size - length + 1))
            outside = np.ones(size, bool)
            outside[start : start + length] = False
            hole &= ~outside.reshape([-1 if a == axis else 1 for a in range(3)])
        if not hole.all():
            return hole


def paint(video: UInt8[np.ndarray, "t h w 3"], hole: Bool[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """The clip with its hole filled with grey."""
    return np.where(hole[..., None], np.uint8(FILL), video)
