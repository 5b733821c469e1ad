"""Random-access sources of examples: `source[i] → {"video", "audio", "has_audio", "caption"}`, the same every time.

    ClipFolder("clips", num_frames=17, fps=8, height=64, width=64, sample_rate=16_000, split="train")
    MovingDigits("train", levels=(1,), num_frames=17, height=64, width=64)

`video` uint8 [t h w 3]; `audio` float32 [s], silence where `has_audio` is False; `caption` a numpy string.
"""

import copy
import errno
import logging
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.data.clip_files import find_clips
from videopoet_jax.data.clip_store import CACHE_BYTES, ArrayStore, StoredClip, decode_clip
from videopoet_jax.data.media import MediaError, Number

SPLITS = ("train", "held_out")
HELD_OUT_FRAMES, HELD_OUT_SHARE = 17, Fraction(1, 5)
_LOG = logging.getLogger(__name__)


def held_out_from(frames: int) -> int:
    """The first held-out frame: the last 17 frames or the last fifth, whichever is longer.  `40 → 23, 200 → 160`"""
    return max(0, frames - max(HELD_OUT_FRAMES, math.ceil(frames * HELD_OUT_SHARE)))


class ClipFolder:
    """Windows of `num_frames` frames, `stride` apart, over a folder of videos of any codec, size and rate.

    Split "train" ends where "held_out" begins (`held_out_from`), in every clip. Files that cannot be read, and clips
    too short for a window, are left out: `skipped` says why. Decoded clips are kept (see `ArrayStore`) and shared by
    `with_split`.

    Args:
        stride: frames between the starts of windows; by default 1 in "train" and `num_frames` in "held_out".
        cache_bytes: memory for decoded clips; the rest goes to files in `cache_dir` (the system's temporary directory).

    Raises:
        FileNotFoundError, MediaError: no folder, a bad `captions.jsonl`, or no clip left.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        num_frames: int,
        fps: Number,
        height: int,
        width: int,
        sample_rate: int,
        split: str,
        stride: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        cache_dir: str | os.PathLike | None = None,
    ):
        self.root, self.fps, self.sample_rate = Path(root), fps, sample_rate
        self.clips: list[StoredClip] = []
        self.unreadable: dict[Path, str] = {}
        store = ArrayStore(cache_bytes, cache_dir)
        for file in find_clips(root):
            try:
                clip = decode_clip(
                    file.path, file.caption, store, fps=fps, height=height, width=width, sample_rate=sample_rate
                )
                self.clips.append(clip)
            except (MediaError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise  # of the cache, not of the clip
                self.unreadable[file.path] = str(error)
                _LOG.warning("left out: %s", error)
        if not self.clips:
            reason = next(iter(self.unreadable.values()))
            raise MediaError(f"{self.root}: none of its {len(self.unreadable)} videos can be read; the first: {reason}")
        self._choose(split, num_frames, stride)

    def _choose(self, split: str, num_frames: int, stride: int | None) -> None:
        if split not in SPLITS:
            raise MediaError(f"split {split!r}: the splits are {' and '.join(SPLITS)}.")
        self.split, self.num_frames = split, num_frames
        self.stride = stride or (1 if split == "train" else num_frames)
        if min(num_frames, self.stride) < 1:
            raise MediaError(f"windows of {num_frames} frames, {self.stride} apart: both must be at least 1.")
        self.skipped, counts = dict(self.unreadable), []
        for clip in self.clips:
            start, stop = self._range(clip)
            counts.append(max(0, (stop - start - num_frames) // self.stride + 1))
            if not counts[-1]:
                self.skipped[clip.path] = (
                    f"{clip.path}: {stop - start} frames at {float(self.fps):g} a second for {split}, a window has "
                    f"{num_frames}; give a longer clip."
                )
        self._ends = np.cumsum(counts)
        if not len(self):
            raise MediaError(
                f"{self.root}: no clip has {num_frames} frames left for {split} once the last "
                f"{HELD_OUT_FRAMES} or the last fifth are held out; give clips of at least "
                f"{(num_frames + HELD_OUT_FRAMES) / self.fps:.1f} s."
            )

    def _range(self, clip: StoredClip) -> tuple[int, int]:
        border = held_out_from(len(clip.frames))
        return (0, border) if self.split == "train" else (border, len(clip.frames))

    def with_split(self, split: str, *, num_frames: int | None = None, stride: int | None = None) -> "ClipFolder":
        """The same decoded clips, the other part of them, in windows as long as these or of `num_frames`."""
        other = copy.copy(self)
        other._choose(split, num_frames or self.num_frames, stride)
        return other

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"ClipFolder({str(self.root)!r}, {self.split}, {len(self.clips)} clips, {len(self)} windows)"

    def locate(self, index: int) -> tuple[int, int]:
        """Which clip window `index` is in, and the frame that it begins with."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index}: there are {len(self)}, numbered from 0.")
        number = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        return number, self._range(self.clips[number])[0] + (index - before) * self.stride

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, first = self.locate(index)
        clip = self.clips[number]
        samples = round(self.num_frames * self.sample_rate / self.fps)
        return {
            "video": np.array(clip.frames[first : first + self.num_frames]),
            "audio": clip.waveform(round(first * self.sample_rate / self.fps), samples),
            "has_audio": np.bool_(clip.audio is not None),
            "caption": np.str_(clip.caption),
        }


class MovingDigits:
    """`moving_digits` as a source: example i is clip i // len(levels) of level levels[i % len(levels)].

    With `pictures`, an example is one of the clip's `num_frames` frames, chosen at random but always the same, without
    sound: seventeen times cheaper to train on.
    """

    def __init__(
        self,
        split: str,
        *,
        levels: Sequence[int],
        size: int,
        num_frames: int,
        height: int,
        width: int,
        seed: int = 0,
        pictures: bool = False,
        structure: bool = False,
    ):
        if not levels or size < 1:
            raise ValueError(f"levels {tuple(levels)}, {size} examples: at least one of each is needed.")
        self.split, self.levels, self.size, self.seed = split, tuple(levels), size, seed
        self.num_frames, self.height, self.width, self.pictures = num_frames, height, width, pictures
        self.structure = structure

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        kind = "pictures" if self.pictures else "clips"
        return f"MovingDigits({self.split}, levels {self.levels}, {self.size} {kind}, seed {self.seed})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        from videopoet_jax.data.moving_digits import render  # loads scikit-learn's scans

        if not 0 <= index < self.size:
            raise IndexError(f"example {index}: there are {self.size}, numbered from 0.")
        number, level = index // len(self.levels), self.levels[index % len(self.levels)]
        frames = self.num_frames
        if self.pictures:  # frame k is the last of k + 1: later ones need not be rendered
            frames = 1 + int(np.random.default_rng((self.seed, index)).integers(self.num_frames))
        clip = render(
            self.split, level, number, seed=self.seed, num_frames=frames, height=self.height, width=self.width
        )
        caption = np.str_(clip.truth.caption)
        if self.pictures:
            return {"video": clip.frames[-1:], "caption": caption}
        example = {"video": clip.frames, "audio": clip.audio, "has_audio": np.bool_(True), "caption": caption}
        return example | ({"flow": clip.truth.flow(), "depth": clip.truth.depth()} if self.structure else {})
