"""From a clip's sound to the short stretch that a training step hears.

in   example {"audio": Float "s", …}      out   {"audio": Float "samples"}
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

Example = dict[str, Any]


def make_crop(
    *, samples: int, start_share: float, transient_share: float, peak_normalise: bool, quietest: float
) -> Callable[[Mapping, np.random.Generator], Example]:
    """The random transform `(example, rng) → {"audio"}`.

    Args:
        samples: length of a crop; a shorter sound is filled with zeros.
        start_share: this share of the crops begins where the clip begins. A tone out of nothing is something that
            crops from anywhere hardly show, and that every clip has to decode.
        transient_share: this share of the others contains the clip's sharpest moment (a click, a stroke), which crops
            from anywhere mostly miss.
        peak_normalise: scale the loudest sample to 1; silence stays silence.
        quietest: then turn the sound down by up to so many dB, at random: a clip is decoded as loud as it is.
    """

    def crop(example: Mapping[str, Any], rng: np.random.Generator) -> Example:
        sound = example["audio"]
        last = max(0, len(sound) - samples)
        first = int(rng.integers(last + 1))
        if rng.random() < transient_share:
            first = min(max(0, sharpest(sound) - int(rng.integers(samples))), last)
        if rng.random() < start_share:
            first = 0
        stretch = cut(sound, first, samples)
        peak = np.abs(stretch).max()
        level = 10 ** (-rng.uniform(0, quietest) / 20) if quietest else 1.0
        return {"audio": stretch / (peak / np.float32(level)) if peak_normalise and peak > 0 else stretch}

    return crop


def sharpest(sound: Float[np.ndarray, " s"]) -> int:
    """The sample where the waveform bends most.  `0 0 0 5 0 0 → 3`"""
    return int(np.argmax(np.abs(sound[:-2] - 2 * sound[1:-1] + sound[2:]))) + 1 if len(sound) > 2 else 0


def cut(sound: Float[np.ndarray, " s"], first: int, samples: int) -> Float[np.ndarray, " n"]:
    """`samples` samples from `first` on, zeros where the sound has ended."""
    stretch = sound[first : first + samples].astype(np.float32)
    return np.pad(stretch, (0, samples - len(stretch)))
