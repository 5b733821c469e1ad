"""Frames one after another → windows of them as examples, which say what they are of and where they lie in it.

windowed(frames, num_frames=3, stride=2, …)    a b c d e f   →   (0, [a b c])  (2, [c d e])
… num_frames=2, stride=2, longest=3            a b b b b b c   →   (0, [a b])  (2, [b b])
stretch(12, 14.125)                                          →   "@12.000-14.125"
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.media import MediaError, Number


class Window(NamedTuple):
    """`first` numbers its first frame; `video` is [t h w 3]."""

    first: int
    video: np.ndarray


def windowed(
    frames: Iterable[np.ndarray], *, num_frames: int, stride: int, what: str, longest: int | None = None
) -> Iterator[Window]:
    """Windows of `num_frames`, their starts `stride` apart, as soon as their last frame is there; the rest is dropped.

    Windows of one and the same array are left out where it has come more than `longest` times in a row: two timestamps
    far apart make few windows of the frame between them.

    Raises:
        MediaError: fewer frames than a window has; it begins with `what`.
    """
    held: deque[np.ndarray] = deque(maxlen=num_frames)
    count = same = 0
    for frame in frames:
        same = same + 1 if held and frame is held[-1] else 1
        held.append(frame)
        count += 1
        first = count - num_frames
        still = longest is not None and same > max(longest, num_frames)
        if first >= 0 and first % stride == 0 and not still:
            yield Window(first, np.stack(held))
    if count < num_frames:
        raise MediaError(f"{what}: {count} frames, a window has {num_frames}; give a longer one.")


def check_windows(num_frames: int, stride: int | None) -> int:
    """The stride, `num_frames` where none is given.

    Raises:
        MediaError: windows of nothing, or that do not move on.
    """
    stride = num_frames if stride is None else stride
    if min(num_frames, stride) < 1:
        raise MediaError(f"windows of {num_frames} frames, {stride} apart: both must be at least 1.")
    return stride


def stretch(start: Number, end: Number | None) -> str:
    """What is put behind a name: `12 14.125 → @12.000-14.125,  12 None → @12.000-`"""
    return f"@{float(start):.3f}-" + ("" if end is None else f"{float(end):.3f}")


def example(
    video: np.ndarray, audio: np.ndarray | int, *, has_audio: bool, caption: str, name: str, source: str
) -> dict[str, Any]:
    """The dict that `sources` documents, with "id" and "source"; for `audio` a number of silent samples will do."""
    return {
        "video": video,
        "audio": audio if isinstance(audio, np.ndarray) else np.zeros(audio, np.float32),
        "has_audio": np.bool_(has_audio),
        "caption": np.str_(caption),
        "id": np.str_(name),
        "source": np.str_(source),
    }
