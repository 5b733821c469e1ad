"""Scores of clips of `moving_digits`, from their frames, their sound and the prompt alone.

frames, sound → `read_clip` → Reading (digit, colour, track, pitch) → `score_*` → named booleans

No score sees the truth that the renderer keeps, nor shares code with it or with a model. Level 1 (one digit on black).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from videopoet_jax.evaluate.digit_glyphs import HUES
from videopoet_jax.evaluate.digit_reader import FrameReadings, describe, distorted, read_frames, scans
from videopoet_jax.evaluate.digit_sound import pitch_digits, pitches, stretches
from videopoet_jax.evaluate.digit_track import Track, follow

ENOUGH = 0.9  # share of the frames (and of the sound) that must be right
FRAMES, FPS = 17, 8  # of a whole clip; what is missing of it is wrong
SLACK = 0.02  # seconds of sound that may be missing: what an audio tokenizer leaves of its last, partial frame

COLOURS = (*HUES, "white")
DIRECTIONS = ("left", "right", "up", "down")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Wish(NamedTuple):
    """What a prompt asks for."""

    colour: str
    digit: int
    direction: str


def parse(prompt: str) -> Wish:
    """The first colour, digit and direction that a prompt names: `a red 3 moving left` → (red, 3, left)."""
    words = re.findall(r"[a-z]+|\d", prompt.lower())
    kinds = (COLOURS, (*"0123456789", *WORDS), DIRECTIONS)
    found = [next((w for w in words if w in kind), None) for kind in kinds]
    if None in found:
        raise ValueError(f"{prompt!r}: must name a colour, a digit and a direction; try 'a red 3 moving left'.")
    colour, digit, direction = found
    return Wish(colour, WORDS.index(digit) if digit in WORDS else int(digit), direction)


class Reading(NamedTuple):
    """What a clip shows and sounds like."""

    frames: FrameReadings
    track: Track
    pitches: Int[np.ndarray, " n"]  # the digit heard in each quarter second, or NONE

    def share(self, digit: int) -> float:
        """Share of the frames that show `digit`."""
        return float(np.mean(self.frames.digits == digit))

    def glyph(self) -> Float[np.ndarray, " 324"]:
        """The mean shape of the digit over the clip, of unit length (zeros when nothing is seen)."""
        mean = self.frames.glyphs.mean(0)
        return mean / max(float(np.linalg.norm(mean)), 1e-6)


def read_clip(frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"], sample_rate: int) -> Reading:
    """Measure a clip."""
    seen = read_frames(frames)
    return Reading(seen, follow(seen.centres), pitch_digits(pitches(audio, sample_rate)))


def steady(found: Sequence | np.ndarray, wanted, least: int) -> bool:
    """Whether at least nine tenths of what was found, and of the `least` that a whole clip has, is what was wanted."""
    return sum(bool(f == wanted) for f in found) >= ENOUGH * max(least, len(found))


class TextToVideoScore(NamedTuple):
    """Right or wrong, by what the prompt asked."""

    digit: bool
    colour: bool
    direction: bool
    path: bool  # seen in every frame, straight, even, far enough
    pitch: bool

    @property
    def all(self) -> bool:
        return self.digit and self.colour and self.direction and self.path and self.pitch


def judge(reading: Reading, prompt: str) -> TextToVideoScore:
    """Hold a reading against a prompt."""
    wish, frames = parse(prompt), max(FRAMES, len(reading.frames.digits))
    return TextToVideoScore(
        digit=steady(reading.frames.digits, wish.digit, frames),
        colour=steady(reading.frames.colours, wish.colour, frames),
        direction=reading.track.direction == wish.direction,
        path=reading.track.right and len(reading.frames.digits) == frames,
        pitch=steady(reading.pitches, wish.digit, stretches(frames / FPS - SLACK)),
    )


def score_text_to_video(
    frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"], sample_rate: int, prompt: str
) -> TextToVideoScore:
    """Whether a clip is what its prompt asked for."""
    return judge(read_clip(frames, audio, sample_rate), prompt)


class UnconditionalScore(NamedTuple):
    """Whether a clip made from nothing is a clip of this world at all."""

    digit: bool  # one and the same digit
    colour: bool  # one and the same colour
    path: bool
    pitch: bool  # the digit's own
    shown: Wish | None  # what it turned out to be, for the spread

    @property
    def all(self) -> bool:
        return self.digit and self.colour and self.path and self.pitch


def score_unconditional(
    frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"], sample_rate: int
) -> UnconditionalScore:
    """Whether a clip is valid, judged by its own commonest digit and colour."""
    reading = read_clip(frames, audio, sample_rate)
    digit = max(range(10), key=lambda d: np.sum(reading.frames.digits == d))
    colour = max(COLOURS, key=reading.frames.colours.count)
    score = judge(reading, f"a {colour} {digit} moving {reading.track.direction or 'left'}")
    shown = Wish(colour, digit, reading.track.direction) if score.digit and score.colour else None
    return UnconditionalScore(score.digit, score.colour, score.path, score.pitch, shown)


def end_error(frames: UInt8[np.ndarray, "t h w 3"], true: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Units between where the digit ends and where it should; infinite when the last frame shows nothing."""
    ends = [read_frames(clip[-1:]).centres[0] for clip in (frames, true)]
    error = float(np.linalg.norm(ends[0] - ends[1]))
    return np.inf if np.isnan(error) else error


@functools.cache
def usual_difference(digit: int) -> float:
    """How far two real scans of a digit are apart at the least, a tenth of the pairs aside."""
    real, classes = scans()
    shapes = describe(distorted(real[classes == digit], np.random.default_rng(0)))
    return float(np.percentile((1 - shapes @ shapes.T)[np.triu_indices(len(shapes), 1)], 10))


def glyphs_differ(readings: Sequence[Reading], digit: int) -> bool:
    """Whether clips of one prompt (several seeds) write the digit in different hands, as real scans do.

    Their median distance must reach what nine of ten pairs of real scans reach: one template for a class does not,
    unless it is turned by a dozen degrees from clip to clip, which this does not see through.
    """
    shapes = np.stack([r.glyph() for r in readings if r.share(digit) > 0.5] or [np.zeros(1)])
    if len(shapes) < 2:
        return False
    return bool(np.median((1 - shapes @ shapes.T)[np.triu_indices(len(shapes), 1)]) >= usual_difference(digit))
