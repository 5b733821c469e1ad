"""Pitch and clicks of a clip's sound, by autocorrelation and spectra.

Digit k is named by 220·2^(k/11) Hz; neighbours are 109 cents apart.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

NONE = -1
WINDOW, HOP = 0.25, 0.125  # seconds
LOWEST, HIGHEST = 100.0, 1000.0  # Hz: an octave and more around what is sought, so that octaves are told apart
SILENCE = 0.02  # RMS below which a window has no pitch
CLEAR = 0.5  # autocorrelation at the period below which it is noise
CLICK_BAND = (2200.0, 4000.0)  # Hz; harmonics of every hum end at 1,172
CLICK_WINDOW, CLICK_HOP = 0.01, 0.0025
CLICK_GAP = 0.06  # seconds within which two clicks are one
CLICK_LEVEL = 0.03  # amplitude in the band that is heard as a click


def windows(audio: Float[np.ndarray, " s"], length: int, hop: int) -> Float[np.ndarray, "n length"]:
    """Overlapping stretches of the sound; none when it is shorter than one."""
    if len(audio) < length:
        return np.zeros((0, length), np.float32)
    return np.lib.stride_tricks.sliding_window_view(audio, length)[::hop]


def stretches(seconds: float) -> int:
    """How many pitches `pitches` finds in so long a sound: 2.125 s → 16."""
    return max(0, int((seconds - WINDOW) / HOP + 1e-6) + 1)


def pitches(audio: Float[np.ndarray, " s"], sample_rate: int) -> Float[np.ndarray, " n"]:
    """Hz in each quarter second, every eighth; nan where there is none.

    The period is the shortest lag at which the wave repeats itself about as well as at any lag, however strong its
    harmonics: a spectrum's highest peak could be one of them.
    """
    pieces = windows(np.asarray(audio, np.float64), int(WINDOW * sample_rate), int(HOP * sample_rate))
    out = np.full(len(pieces), np.nan)
    shortest, longest = int(sample_rate / HIGHEST), int(sample_rate / LOWEST)
    for i, stretch in enumerate(pieces):
        stretch = stretch - stretch.mean()
        power = np.mean(stretch**2)
        if power < SILENCE**2:
            continue
        spectrum = np.fft.rfft(stretch, 2 * len(stretch))
        alike = np.fft.irfft(np.abs(spectrum) ** 2)[: longest + 2] / (power * (len(stretch) - np.arange(longest + 2)))
        lags = np.arange(shortest, longest + 1)
        peaks = lags[(alike[lags] > alike[lags - 1]) & (alike[lags] >= alike[lags + 1])]
        if peaks.size == 0 or alike[peaks].max() < CLEAR:
            continue
        lag = peaks[alike[peaks] >= 0.9 * alike[peaks].max()][0]
        before, at, after = alike[lag - 1 : lag + 2]
        out[i] = sample_rate / (lag + 0.5 * (before - after) / (before - 2 * at + after))
    return out


def pitch_digits(hertz: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The digit whose pitch is nearest, NONE where it is none's (over half a step beyond 0's or 9's) or nan."""
    steps = np.round(11 * np.log2(np.where(np.isnan(hertz), 1.0, hertz) / 220))
    return np.where((steps >= 0) & (steps <= 9) & ~np.isnan(hertz), steps, NONE).astype(np.int64)


def clicks(audio: Float[np.ndarray, " s"], sample_rate: int) -> Float[np.ndarray, " k"]:
    """Seconds at which clicks begin."""
    length, hop = int(CLICK_WINDOW * sample_rate), int(CLICK_HOP * sample_rate)
    pieces = windows(np.asarray(audio, np.float64), length, hop)
    shape = np.hanning(length)
    spectra = np.abs(np.fft.rfft(pieces * shape)) * (2 / shape.sum())
    hertz = np.fft.rfftfreq(length, 1 / sample_rate)
    loud = np.sqrt((spectra[:, (hertz >= CLICK_BAND[0]) & (hertz <= CLICK_BAND[1])] ** 2).sum(1))
    if not loud.size:
        return np.zeros(0)
    heard = np.flatnonzero(loud > max(CLICK_LEVEL, 4 * float(np.median(loud))))
    # a click is heard as soon as it fills about half of a window
    times = heard * CLICK_HOP + CLICK_WINDOW / 2
    apart = np.diff(times, prepend=-np.inf) > CLICK_GAP
    return times[apart]


def matched(heard: Float[np.ndarray, " k"], expected: Float[np.ndarray, " j"], tolerance: float) -> bool:
    """Whether every expected click is heard, and nothing else is, each within `tolerance` seconds."""
    if not len(heard) or not len(expected):
        return len(heard) == len(expected)
    apart = np.abs(np.subtract.outer(heard, expected))
    return bool((apart.min(0) <= tolerance).all() and (apart.min(1) <= tolerance).all())
