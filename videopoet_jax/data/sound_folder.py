"""A folder of sounds as a source: `source[i] → {"audio": float32 [s]}`, the same every time.

    SoundFolder("LibriSpeech", shortest=48_000, longest=50_000, sample_rate=16_000, fps=8, split="train")

Sound files and videos with sound are read alike, of videos nothing but the sound (and one picture, to know the file).
"""

import copy
import errno
import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.data.clip_files import SUFFIXES, find_sounds
from videopoet_jax.data.clip_store import CACHE_BYTES, ArrayStore, from_pcm, to_pcm
from videopoet_jax.data.media import MediaError, Number, iterate_audio, probe
from videopoet_jax.data.sources import HELD_OUT_FRAMES, HELD_OUT_SHARE, SPLITS, held_out_from

EVERY = 10  # ours: of the sounds that are too short to be divided, every tenth is held out whole

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredSound:
    """Where a file's samples lie among those of all files; it is trained on up to its sample `border`."""

    path: Path
    first: int
    samples: int
    border: int


class SoundFolder:
    """Windows over the sounds of a folder, of any format, rate and number of channels.

    Held out is what `ClipFolder` holds out of a clip of that length: frames are counted at `fps`, whether there are
    any or not, and the sound of a video ends where its picture does. A sound file too short for that, as the utterances
    of a speech corpus are, is trained on whole, and every tenth of them is held out whole. Left out, with a warning and
    in `skipped`, are files without sound or with silence, damaged ones, and those with fewer than `shortest` samples to
    train on. All the others are decoded at once and kept (`ArrayStore`): at 16 kHz 115 MB an hour.

    Args:
        shortest, longest: windows of "train" have `longest` samples, or all that a file has to train on. They begin a
            frame apart, and the last one ends where "train" does. Those of "held_out" lie side by side, `shortest` or
            17 frames long, whichever is less.
        cache_bytes: memory for samples; more goes to a file in `cache_dir` (the system's temporary directory).

    Raises:
        FileNotFoundError, MediaError: no folder, or nothing in it to train on.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        shortest: int,
        longest: int,
        sample_rate: int,
        fps: Number,
        split: str,
        cache_bytes: int = CACHE_BYTES,
        cache_dir: str | os.PathLike | None = None,
    ):
        if not 1 <= shortest <= longest:
            raise MediaError(
                f"windows of {shortest:,} to {longest:,} samples: the first must be the lesser; swap them."
            )
        self.root, self.sample_rate, self.frame = Path(root), sample_rate, sample_rate / Fraction(fps)
        self.shortest, self.longest = shortest, longest
        self.sounds: list[StoredSound] = []
        self._undivided = 0
        self.skipped: dict[Path, str] = {}
        self._pcm = ArrayStore(cache_bytes, cache_dir).collect(self._decoded(find_sounds(root)), (), np.int16)
        if not self.sounds:
            reason = next(iter(self.skipped.values()))
            raise MediaError(
                f"{self.root}: none of its {len(self.skipped)} files can be trained on; the first: {reason}"
            )
        self._choose(split)

    def _decoded(self, paths: Iterable[Path]) -> Iterator[np.ndarray]:
        """The samples of all files, one after another; notes where each lies, and which are left out."""
        place = 0
        for path in paths:
            first, loud = place, False
            try:
                for chunk in iterate_audio(path, sample_rate=self.sample_rate, end=_end_of_picture(path)):
                    pcm = to_pcm(chunk)
                    place, loud = place + len(pcm), loud or bool(pcm.any())
                    yield pcm
                self.sounds.append(self._usable(path, first, place - first, loud))
            except (MediaError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise  # of the cache, not of the sound
                self.skipped[path] = str(error)
                _LOG.warning("left out: %s", error)

    def _usable(self, path: Path, first: int, samples: int, loud: bool) -> StoredSound:
        if not loud:
            raise MediaError(f"{path}: silent; give a sound that is not.")
        border = math.floor(held_out_from(math.floor(samples / self.frame)) * self.frame)
        if border < self.shortest and path.suffix.lower() not in SUFFIXES:
            if samples < self.shortest:
                has, needs = samples / self.sample_rate, self.shortest / self.sample_rate
                raise MediaError(f"{path}: {has:.1f} s of sound; {needs:.1f} s are trained on; give a longer one.")
            self._undivided += 1
            border = 0 if self._undivided % EVERY == 0 else samples
        elif border < self.shortest:
            frames = math.ceil(self.shortest / self.frame)  # to train on
            frames = max(frames + HELD_OUT_FRAMES, math.ceil(frames / (1 - HELD_OUT_SHARE)))
            seconds = math.ceil(10 * frames * self.frame / self.sample_rate) / 10
            raise MediaError(
                f"{path}: {samples / self.sample_rate:.1f} s of sound; {seconds:g} s are needed to train on "
                f"{self.shortest / self.sample_rate:.1f} s and hold the end out; give a longer one."
            )
        return StoredSound(path, first, samples, border)

    def _choose(self, split: str) -> None:
        if split not in SPLITS:
            raise MediaError(f"split {split!r}: the splits are {' and '.join(SPLITS)}.")
        self.split, self._aside = split, min(self.shortest, math.floor(HELD_OUT_FRAMES * self.frame))
        self._ends = np.cumsum([self._count(sound) for sound in self.sounds])

    def _count(self, sound: StoredSound) -> int:
        if self.split == "held_out":
            return (sound.samples - sound.border) // self._aside
        if not sound.border:
            return 0
        return 1 + math.ceil(max(0, sound.border - self.longest) / self.frame)

    def with_split(self, split: str) -> "SoundFolder":
        """The same decoded sounds, the other part of them."""
        other = copy.copy(self)
        other._choose(split)
        return other

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        hours = sum(sound.samples for sound in self.sounds) / self.sample_rate / 3600
        return f"SoundFolder({str(self.root)!r}, {self.split}, {len(self.sounds)} files, {hours:.2f} hours)"

    def locate(self, index: int) -> tuple[int, int, int]:
        """Which sound window `index` is in, the first of its samples there, and the first after it."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index}: there are {len(self)}, numbered from 0.")
        number = int(np.searchsorted(self._ends, index, side="right"))
        sound, index = self.sounds[number], index - (int(self._ends[number - 1]) if number else 0)
        if self.split == "held_out":
            first = sound.border + index * self._aside
            return number, first, first + self._aside
        first = min(math.floor(index * self.frame), max(0, sound.border - self.longest))
        return number, first, min(first + self.longest, sound.border)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, first, stop = self.locate(index)
        place = self.sounds[number].first
        return {"audio": from_pcm(self._pcm[place + first : place + stop])}


def _end_of_picture(path: Path) -> float | None:
    """Seconds that a video says it lasts; None where there is no picture, or no word of it."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    try:
        return probe(path).duration or None
    except MediaError:
        return None
