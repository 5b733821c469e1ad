"""Where the light of a frame is, what colour it has, and the shape it draws: measurements with nothing learned.

Units: 64 of them span a frame's shorter side, so that frames of any size are measured alike.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

UNITS = 64
GRID = 18  # features a side, `SPACING` units apart: the window spans 36 units, a digit 28
SPACING = 2.0
SMOOTHING = 1.2  # units; makes sharp and slightly blurred strokes look alike

FLOOR = 0.2  # share of the brightest light below which a pixel is background
DIMMEST = 0.25  # a frame whose brightest pixel is below this shows nothing

HUES = {"red": 0, "yellow": 60, "green": 120, "cyan": 180, "blue": 240, "magenta": 300}
GREYEST = 0.35  # saturation under which a colour is white
NO_COLOUR = ""


def unit_of(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Pixels in a unit."""
    return min(frames.shape[1:3]) / UNITS


def light(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w"]:
    """Brightness in [0, 1] with the background taken away, so that faint haze pulls no centre."""
    bright = frames.max(-1).astype(np.float32) / 255
    peak = bright.max((1, 2), keepdims=True)
    floor = FLOOR * peak
    above = np.maximum(bright - floor, 0) / np.maximum(peak - floor, 1e-6)
    return np.where(peak > DIMMEST, above, 0).astype(np.float32)


def centres(lit: Float[np.ndarray, "t h w"]) -> Float[np.ndarray, "t 2"]:
    """Centre of the light (x, y) in pixels; nan for a dark frame."""
    mass = lit.sum((1, 2))
    mass = np.where(mass > 0, mass, np.nan)
    x = (lit.sum(1) @ np.arange(lit.shape[2])) / mass
    y = (lit.sum(2) @ np.arange(lit.shape[1])) / mass
    return np.stack([x, y], -1).astype(np.float32)


def glyphs(
    lit: Float[np.ndarray, "t h w"], centre: Float[np.ndarray, "t 2"], unit: float
) -> Float[np.ndarray, "t 324"]:
    """The light around each centre on an 18×18 grid, smoothed, of unit length; zeros where nothing is seen."""
    steps = (np.arange(GRID) - (GRID - 1) / 2) * SPACING * unit
    weigh = []
    for place, length in ((centre[:, 1], lit.shape[1]), (centre[:, 0], lit.shape[2])):
        away = (place[:, None, None] + steps[:, None] - np.arange(length)) / (SMOOTHING * unit)
        weigh.append(np.nan_to_num(np.exp(-0.5 * away * away)).astype(np.float32))
    seen = (weigh[0] @ lit @ weigh[1].transpose(0, 2, 1)).reshape(len(lit), -1)
    return seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-6)


def gathered(lit: Float[np.ndarray, "t h w"], centre: Float[np.ndarray, "t 2"], unit: float) -> Float[np.ndarray, " t"]:
    """Share of a frame's light that lies inside its window: near 1 for one digit, small for litter all over."""
    reach = GRID * SPACING / 2 * unit
    y = np.abs(np.arange(lit.shape[1]) - centre[:, 1:]) <= reach
    x = np.abs(np.arange(lit.shape[2]) - centre[:, :1]) <= reach
    inside = np.einsum("thw,th,tw->t", lit, y.astype(np.float32), x.astype(np.float32))
    return inside / np.maximum(lit.sum((1, 2)), 1e-6)


def colours(frames: UInt8[np.ndarray, "t h w 3"], lit: Float[np.ndarray, "t h w"]) -> tuple[str, ...]:
    """Name of the mean colour of each frame's light, by hue; white when it has little; "" when there is no light."""
    names, places = tuple(HUES), np.array(list(HUES.values()))
    out = []
    for rgb, mass in zip(np.einsum("thwc,thw->tc", frames.astype(np.float32), lit), lit.sum((1, 2)), strict=True):
        high, low = rgb.max(), rgb.min()
        if mass == 0 or 1 - low / high < GREYEST:
            out.append("white" if mass else NO_COLOUR)
            continue
        r, g, b = rgb
        turn = {r: (g - b) / (high - low), g: 2 + (b - r) / (high - low), b: 4 + (r - g) / (high - low)}[high]
        apart = np.abs((60 * turn - places + 180) % 360 - 180)
        out.append(names[int(apart.argmin())])
    return tuple(out)
