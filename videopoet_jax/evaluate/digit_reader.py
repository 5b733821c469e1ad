"""Reads a handwritten digit off frames, by an SVM trained (in seconds, on first use) on real scans.

frames [t h w 3] → light → centre → glyph of 18×18 → class of the SVM, or NONE

Shares no code with the renderer or any model. The scans it learns are those that training may show; the test's are new
to it as well. What is no digit is NONE: no light, too little or too much, light all over, a blob, digits blended.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from videopoet_jax.evaluate.digit_glyphs import centres, colours, gathered, glyphs, light, unit_of

NONE = -1
CELLS = 8
SPAN = 28  # units across a scan
SIDE = 44  # units a side of a distorted scan
VIEWS = 6  # distorted copies of each scan to learn from; more gain nothing (1.1 % wrong on training scans left out)
CHUNKS = 16  # scans are distorted in groups, each group in its own way

LEAST, MOST = 90.0, 600.0  # square units of light in a digit; scans have 180 to 340
TOGETHER = 0.85  # share of the light that must lie in the window
# Blended digits resemble real ones: weighed fully, NONE would swallow 2 % of the real scans, at this weight it takes
# none of them, all blobs, and about two in five of blends and of digits blurred beyond reading.
NONE_WEIGHT = 0.01


class FrameReadings(NamedTuple):
    """What each frame shows."""

    digits: Int[np.ndarray, " t"]  # 0 to 9, or NONE
    colours: tuple[str, ...]
    centres: Float[np.ndarray, "t 2"]  # (x, y) in units; nan where nothing is seen
    glyphs: Float[np.ndarray, "t 324"]


@functools.cache
def scans() -> tuple[Float[np.ndarray, "i 8 8"], Int[np.ndarray, " i"]]:
    """The real scans that training may show (index ending in 0 to 6), in [0, 1], and their classes."""
    from sklearn.datasets import load_digits

    real = load_digits()
    train = np.arange(len(real.target)) % 10 < 7
    return np.asarray(real.images[train], np.float32) / 16, np.asarray(real.target[train], np.int64)


def distorted(real: Float[np.ndarray, "i 8 8"], rng: np.random.Generator) -> Float[np.ndarray, "i 44 44"]:
    """The scans, 28 units wide on 44, all turned, sheared, stretched and softened in one random way."""
    angle, shear = rng.uniform(-0.17, 0.17), rng.uniform(-0.12, 0.12)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = turn @ np.array([[1, shear], [0, 1]]) / (rng.uniform(0.92, 1.1, 2) * SPAN / CELLS)  # units → cells
    line = np.arange(SIDE) - (SIDE - 1) / 2
    places = np.stack(np.meshgrid(line, line, indexing="ij"), -1) + rng.uniform(-0.5, 0.5, 2)
    away = (places @ back.T)[..., None] + (CELLS - 1) / 2 - np.arange(CELLS)  # [y x 2 cell]
    near = np.where(np.abs(away) < 2, np.sinc(away) * np.sinc(away / 2), 0).astype(np.float32)  # Lanczos
    weights = near[..., 0, :, None] * near[..., 1, None, :]
    ink = real.reshape(-1, CELLS * CELLS) @ weights.reshape(-1, CELLS * CELLS).T
    ink = np.clip(ink * rng.uniform(1.0, 1.4), 0, 1).reshape(-1, SIDE, SIDE)
    blur = np.exp(-0.5 * ((line[:, None] - line) / rng.uniform(0.3, 1.8)) ** 2)  # a decoder's strokes are soft
    blur = (blur / blur.sum(1, keepdims=True)).astype(np.float32)
    ink = blur @ ink @ blur + rng.normal(0, 0.03, ink.shape)
    return np.clip(ink, 0, 1).astype(np.float32)


def blends(
    ink: Float[np.ndarray, "i 44 44"], classes: Int[np.ndarray, " i"], rng: np.random.Generator, count: int
) -> Float[np.ndarray, "j 44 44"]:
    """Up to `count` even blends of two digits of different classes."""
    one, other = rng.permutation(len(ink)), rng.permutation(len(ink))
    differ = np.flatnonzero(classes[one] != classes[other])[:count]
    share = rng.uniform(0.4, 0.6, (differ.size, 1, 1)).astype(np.float32)
    return np.clip(1.3 * (share * ink[one[differ]] + (1 - share) * ink[other[differ]]), 0, 1)


def blobs(rng: np.random.Generator, count: int) -> Float[np.ndarray, "j 44 44"]:
    """Soft ellipses and clouds about as large as a digit."""
    from scipy import ndimage

    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    out = []
    for number in range(count):
        high, wide = rng.uniform(7, 13, 2)
        disc = (np.hypot(y / high, x / wide) < 1).astype(np.float32)
        if number % 2:
            disc *= ndimage.gaussian_filter(rng.normal(size=disc.shape), rng.uniform(1.5, 3.5))
        soft = np.maximum(ndimage.gaussian_filter(disc, rng.uniform(0.5, 3.0)), 0)
        out.append(soft / max(soft.max(), 1e-6))
    return np.stack(out).astype(np.float32)


def describe(ink: Float[np.ndarray, "i 44 44"]) -> Float[np.ndarray, "i 324"]:
    """Glyphs of pictures that are one unit a pixel."""
    lit = light(np.repeat((255 * ink).astype(np.uint8)[..., None], 3, -1))
    return glyphs(lit, centres(lit), 1.0)


@functools.cache
def classifier():
    """The SVM; trained once a process, always the same."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    real, classes = scans()
    views = [np.concatenate([distorted(part, rng) for part in np.array_split(real, CHUNKS)]) for _ in range(VIEWS)]
    others = [blends(view, classes, rng, 600) for view in views[:3]] + [blobs(rng, 300)]
    shown = np.concatenate([describe(ink) for ink in views + others])
    named = np.concatenate([np.tile(classes, VIEWS), np.full(len(shown) - VIEWS * len(real), NONE)])
    return SVC(C=10.0, gamma=4.0, class_weight={NONE: NONE_WEIGHT}).fit(shown, named)


def read_frames(frames: UInt8[np.ndarray, "t h w 3"]) -> FrameReadings:
    """Digit, colour, place and glyph of every frame."""
    unit = unit_of(frames)
    lit = light(frames)
    centre = centres(lit)
    shapes = glyphs(lit, centre, unit)
    mass = lit.sum((1, 2)) / unit**2
    legible = (mass >= LEAST) & (mass <= MOST) & (gathered(lit, centre, unit) >= TOGETHER)
    digits = np.full(len(frames), NONE, np.int64)
    if legible.any():
        digits[legible] = classifier().predict(shapes[legible])
    return FrameReadings(digits, colours(frames, lit), centre / np.float32(unit), shapes)
