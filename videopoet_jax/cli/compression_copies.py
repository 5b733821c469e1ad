"""Copies of a piece of video, by tokenizers and by codecs, each with its rate and its likeness to the original."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videopoet_jax.cli.named import named
from videopoet_jax.evaluate.codecs import Codec, code
from videopoet_jax.evaluate.lpips import load_perceptual
from videopoet_jax.evaluate.quality import ms_ssim, psnr_clip
from videopoet_jax.evaluate.rate_distortion import Point, bracket
from videopoet_jax.evaluate.vmaf import vmaf
from videopoet_jax.video.streaming import CHUNK_FRAMES
from videopoet_jax.video.tokenizer import VideoTokenizer

MOST_DECIBELS = 100.0  # of an exact copy: infinity would make every mean infinite
LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709
BATCH = 16


class Copy(NamedTuple):
    """What became of a piece: by a codec at `quality`, or by a tokenizer, whose `codes` are [t h w]."""

    point: Point
    frames: np.ndarray  # uint8 [t h w 3]
    quality: int | None = None
    codes: np.ndarray | None = None


class Coder:
    """A tokenizer for videos of any length, in one stream."""

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self.tokenizer = tokenizer
        self.warm: set[int] = set()

    def encode(self, video: np.ndarray) -> np.ndarray:
        """uint8 [t h w 3] → codes [t2 h2 w2]."""
        return np.concatenate(list(self.tokenizer.encode_pieces([video])))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes → the frames that they were, and those that the last of them was filled up with."""
        return np.concatenate(list(self.tokenizer.decode_pieces([codes])))

    def compile(self, video: np.ndarray) -> None:
        """Compiles what a video of that length needs: if causal, the same for all of more than one chunk."""
        sample = video[: 2 + CHUNK_FRAMES] if self.tokenizer.model.causal else video
        if len(sample) not in self.warm:
            self.decode(self.encode(sample))
            self.warm.add(len(sample))


def load_tokenizers(models: Sequence[str], height: int, width: int) -> dict[str, Coder]:
    """Tokenizers by name, see `named`.

    Raises:
        ValueError: a name given twice, or a size that one of them does not take.
    """
    coders: dict[str, Coder] = {}
    for name, directory in named(models).items():
        tokenizer = VideoTokenizer.from_pretrained(directory)
        tokenizer.grid(1, height, width)
        coders[name] = Coder(tokenizer)
    return coders


def tokenized(coder: Coder, video: np.ndarray, likeness: "Likeness") -> Copy:
    """The piece through a tokenizer."""
    coder.compile(video)
    start = time.perf_counter()
    codes = coder.encode(video)
    encoded = time.perf_counter()
    frames = coder.decode(codes)[: len(video)]
    decoded = time.perf_counter()
    bits = codes.size * math.log2(coder.tokenizer.vocabulary_size)
    point = likeness.point(video, frames, bits, encode=encoded - start, decode=decoded - encoded)
    return Copy(point, frames, codes=codes)


def coded(codec: Codec, video: np.ndarray, likeness: "Likeness", low: float, high: float) -> list[Copy]:
    """The piece through the codec at qualities whose rates reach from `low` to `high` bits a pixel, if it can."""
    copies: dict[int, Copy] = {}

    def at(quality: int) -> Point:
        made = code(codec, video, fps=likeness.fps, quality=quality)
        point = likeness.point(video, made.frames, made.bits, encode=made.encode_seconds, decode=made.decode_seconds)
        copies[quality] = Copy(point, made.frames, quality=quality)
        return point

    bracket(codec.qualities, at, low, high)
    return [copies[quality] for quality in codec.qualities if quality in copies]


class Likeness:
    """Measures copies; LPIPS only if `weights` (a directory with `lpips_alexnet` in it) are given."""

    def __init__(self, fps: float, weights: Path | None) -> None:
        self.fps, self.lpips = fps, None if weights is None else load_perceptual(weights)

    def point(self, true: np.ndarray, copy: np.ndarray, bits: int | float, *, encode: float, decode: float) -> Point:
        """Figures over all frames: PSNR of all their errors together, of the rest the frames' mean."""
        luma = [np.round(video @ LUMA)[..., None] for video in (true, copy)]
        figures = {
            "psnr": min(float(psnr_clip(true, copy)), MOST_DECIBELS),
            "psnr_luma": min(float(psnr_clip(*luma)), MOST_DECIBELS),
            "ms_ssim": float(np.mean(np.concatenate([ms_ssim(*pair) for pair in batches(true, copy)]))),
            "vmaf": vmaf(true, copy, fps=self.fps),
            "encode_ms": 1000 * encode / len(true),
            "decode_ms": 1000 * decode / len(true),
        }
        if self.lpips:
            figures["lpips"] = float(np.mean(self.lpips(true, copy)))
        return Point(bits / true[..., 0].size, figures)


def batches(*videos: np.ndarray) -> Iterator[list[np.ndarray]]:
    """The videos' frames, `BATCH` at a time: what measures them takes many times their memory."""
    for start in range(0, len(videos[0]), BATCH):
        yield [video[start : start + BATCH] for video in videos]
