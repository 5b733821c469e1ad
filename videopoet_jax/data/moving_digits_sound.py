"""Sound of `moving_digits`: each digit hums its own pitch, each bounce clicks.

Digit k hums 220·2^(k/11) Hz with harmonics at two and three times that; all ten lie inside one octave, about 109 cents
apart, so a detune of ±10 cents never turns one digit into its neighbour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SAMPLE_RATE = 16_000
FPS = 8
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 2,000

CLICK_SECONDS = 0.02
CLICK_HZ = 3_000.0  # ours: far above every harmonic (at most 1,172 Hz), so that hum and click never mask each other
HUM_LEVEL = 0.6
CLICK_LEVEL = 0.35


@dataclasses.dataclass(frozen=True)
class Voice:
    """How one digit sounds, the same for the whole clip."""

    pitch: float  # Hz, detune included
    detune: float  # cents
    timbre: tuple[float, float]  # strengths of 2f and 3f against f


def digit_pitch(digit: int, detune: float = 0.0) -> float:
    """Hz of a digit; `detune` in cents."""
    return 220.0 * 2.0 ** (digit / 11 + detune / 1200)


def hum(voice: Voice, samples: int) -> Float[np.ndarray, " s"]:
    """The steady tone of one digit, peak at most 1."""
    phase = (2 * np.pi * voice.pitch / SAMPLE_RATE) * np.arange(samples)
    sine, cosine = np.sin(phase), np.cos(phase)
    second, third = voice.timbre
    # sin 2x = 2 sin x cos x and sin 3x = 3 sin x - 4 sin³ x: two transcendental calls instead of three
    tone = sine * (1 + 2 * second * cosine + third * (3 - 4 * sine * sine))
    return tone / (1 + second + third)


def click(age: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """A damped 20 ms burst; `age` is the seconds since the bounce."""
    return np.sin(2 * np.pi * CLICK_HZ * age) * (1 - age / CLICK_SECONDS) ** 2


def sound(
    voices: Sequence[Voice], bounces: Sequence[Float[np.ndarray, " _"]], num_frames: int
) -> Float[np.ndarray, " s"]:
    """Hums of all voices and a click at every bounce (seconds), float32 in [-1, 1], 2,000 samples a frame."""
    samples = num_frames * SAMPLES_PER_FRAME
    wave = sum(hum(voice, samples) for voice in voices) * (HUM_LEVEL / len(voices))
    for time in np.concatenate([np.asarray(b, np.float64) for b in bounces]):
        start = int(np.ceil(time * SAMPLE_RATE))
        ages = np.arange(start, min(samples, int(np.ceil((time + CLICK_SECONDS) * SAMPLE_RATE)))) / SAMPLE_RATE - time
        wave[start : start + ages.size] += CLICK_LEVEL * click(ages)
    return np.clip(wave, -1.0, 1.0).astype(np.float32)
