"""A film, or a stretch of one → its windows as examples, made while it is decoded: memory does not grow with its size.

film_windows("a.mp4", source="b/a.mp4", fps=8, num_frames=17, …)   of 40 frames: 0–16  17–33, six are left over
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from videopoet_jax.data.clip_store import from_pcm, to_pcm
from videopoet_jax.data.item_windows import example, stretch, windowed
from videopoet_jax.data.media import MediaError, Number, is_silent, iterate_audio, iterate_frames, probe

_STILL = 10  # seconds of a frame that stands still become windows, and no more of it; ours


def film_windows(
    path: str,
    *,
    source: str,
    caption: str,
    fps: Number,
    height: int,
    width: int,
    num_frames: int,
    sample_rate: int,
    stride: int,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[dict[str, Any]]:
    """The windows of the film at `path` from `start` to `end` seconds, None for its end; the rest as in `items.decode`.

    Where one frame of the file is shown for longer than ten seconds, no windows show it alone after that.

    Args:
        source: what the examples are of; their ids begin with it.

    Raises:
        FileNotFoundError, MediaError: as `items.decode`.
    """
    sound = _Sound(path, sample_rate, start, end) if _is_heard(path, start, end) else None
    frames = iterate_frames(path, fps=fps, height=height, width=width, start=start, end=end)
    samples, what = round(num_frames * sample_rate / fps), f"{path} ({source} at {float(fps):g} frames a second)"
    longest = round(_STILL * fps)
    for window in windowed(frames, num_frames=num_frames, stride=stride, what=what, longest=longest):
        begin = Fraction(start) + window.first / Fraction(fps)
        yield example(
            window.video,
            sound.window(round(window.first * sample_rate / fps), samples) if sound else samples,
            has_audio=sound is not None,
            caption=caption,
            name=source + stretch(begin, begin + num_frames / Fraction(fps)),
            source=source,
        )


def _is_heard(path: str, start: float, end: float | None) -> bool:
    """Whether the stretch has sound that is not silence; sound that cannot be decoded is none."""
    info = probe(path)
    if not info.has_audio:
        return False
    end = end or (info.duration if info.duration > start else None)
    try:
        return not is_silent(path, start=start, end=end)
    except MediaError:
        return False


class _Sound:
    """A stretch's sound, read as far as the windows have come; they must ask in the order of time."""

    def __init__(self, path: str, sample_rate: int, start: float, end: float | None) -> None:
        self._chunks = iterate_audio(path, sample_rate=sample_rate, start=start, end=end)
        self._held, self._first = np.zeros(0, np.int16), 0  # the sample that `_held` begins with

    def window(self, first: int, samples: int) -> np.ndarray:
        """float32 samples from `first` on; silence where there is no sound any more."""
        while self._first + len(self._held) < first + samples:
            self._drop(first)
            try:
                chunk = next(self._chunks, None)
            except MediaError:
                chunk = None
            if chunk is None:
                break
            self._held = np.concatenate([self._held, to_pcm(chunk)])  # 16 bits, as `ClipFolder` keeps it
        self._drop(first)
        wave = np.zeros(samples, np.float32)
        piece = self._held[max(0, first - self._first) :][:samples]
        wave[: len(piece)] = from_pcm(piece)
        return wave

    def _drop(self, first: int) -> None:
        gone = min(len(self._held), max(0, first - self._first))
        self._held, self._first = self._held[gone:], self._first + gone
