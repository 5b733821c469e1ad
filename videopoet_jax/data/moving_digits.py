"""`moving_digits`: clips of handwritten digits that move and hum, rendered by NumPy, with the truth about each.

in   split, level, index, seed (and a size, a number of frames)
out  Clip: frames uint8 [t h w 3] at 8 fps, audio float32 [2000 t] at 16 kHz, truth

`render(split, level, index)` is a random-access data set, the same on every machine; `render_prompt` renders a clip for
one prompt. Level 1 is one digit on black at a constant speed; level 2 adds photographs, walls with clicks, speeds,
sizes and paraphrases; level 3 pairs of digits and a panning camera. Digit scans and (colour, digit, direction) triples
of the test split are never shown in training.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from videopoet_jax.data.moving_digits_backgrounds import slide
from videopoet_jax.data.moving_digits_render import composite
from videopoet_jax.data.moving_digits_scene import (
    COLOURS,
    DIRECTIONS,
    HELD_OUT,
    SEEN,
    STEPS,
    TRIPLES,
    Scene,
    Triple,
    caption,
    draw,
    held_out,
)
from videopoet_jax.data.moving_digits_sound import FPS, SAMPLE_RATE, digit_pitch, sound
from videopoet_jax.data.moving_digits_truth import UNITS, Truth, locate

__all__ = [
    "COLOURS", "DIRECTIONS", "FPS", "HELD_OUT", "SAMPLE_RATE", "SEEN", "TRIPLES", "Clip", "Triple", "Truth",
    "digit_pitch", "held_out", "render", "render_prompt",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Clip:
    """One rendered clip and the truth about it."""

    frames: UInt8[np.ndarray, "t h w 3"]
    audio: Float[np.ndarray, " s"]
    truth: Truth


def render(
    split: str, level: int, index: int, *, seed: int = 0, num_frames: int = 17, height: int = 64, width: int = 64
) -> Clip:
    """Clip `index` of a split; it depends on these arguments and on nothing else."""
    return film(draw(split, level, index, seed), num_frames, height, width)


def render_prompt(
    colour: str,
    digit: int,
    direction: str,
    *,
    split: str = "test",
    level: int = 1,
    index: int = 0,
    seed: int = 0,
    num_frames: int = 17,
    height: int = 64,
    width: int = 64,
) -> Clip:
    """A true clip of `a {colour} {digit} moving {direction}`, with a scan of `split`; `index` counts its variations."""
    triple = Triple(colour, digit, direction)
    if triple not in TRIPLES:
        raise ValueError(
            f"{colour} {digit} {direction}: nothing like it in this world; colours are {', '.join(COLOURS)}, digits "
            f"0 to 9, directions {', '.join(DIRECTIONS)}."
        )
    return film(draw(split, level, index, seed, triple), num_frames, height, width)


def film(scene: Scene, num_frames: int, height: int, width: int) -> Clip:
    """Render a scene at a size and length."""
    if min(num_frames, height, width) < 1:
        raise ValueError(f"{num_frames} frames of {height}x{width}: each must be at least 1; try 17 frames of 64x64.")
    unit = min(height, width) / UNITS
    # the camera turns right, the background slides left
    pan = tuple(-scene.pan * unit * s for s in STEPS[scene.camera]) if scene.camera else (0.0, 0.0)
    digits = tuple(locate(actor, scene.level, num_frames, height, width) for actor in scene.actors)
    truth = Truth(caption(scene), scene.level, digits, scene.template, scene.background, scene.camera, pan)
    background = scene.background and slide(scene.background, scene.crop, pan, num_frames, height, width)
    frames = composite(background, [(d.colour, d.coverage()) for d in digits])
    audio = sound([d.voice for d in digits], [d.bounces for d in digits], num_frames)
    return Clip(frames, audio, truth)
