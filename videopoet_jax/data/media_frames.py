"""Video files → frames uint8 [h w 3], one at a time in constant memory: upright, at a frame rate, at a size."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation
from jaxtyping import UInt8

from videopoet_jax.data.media_image import fit, target_size
from videopoet_jax.data.media_moments import Unshown, retime
from videopoet_jax.data.media_open import (
    MAX_FPS,
    MAX_HELD,
    MAX_SECONDS,
    MediaError,
    Number,
    check_size,
    decoded,
    decoded_from,
    open_media,
    origin,
    video_stream,
)

MAX_VIDEO_BYTES = 1 << 30  # of decoded frames that `read_video` returns; `iterate_frames` has no such limit
_LONGEST_LAST = Fraction(10)  # seconds of the last frame: a header of one frame an hour gives no hour of it
_RIBBON = 8  # times as long as what is shown of it: of such a film the middle is cut out before it is scaled
_UNSPECIFIED, _HD_HEIGHT = 2, 720  # libav's "no colour matrix named"; from 720 lines on that means BT.709


@dataclass(frozen=True)
class VideoInfo:
    """What is in a video file. `frames` and `duration` are what the header claims until the file is decoded.

    `height` and `width` are those of the picture as it is shown: turned upright, pixels square.
    """

    frames: int
    fps: Fraction
    height: int
    width: int
    duration: float
    codec: str
    has_audio: bool
    sample_rate: int | None
    channels: int | None
    audio_codec: str | None
    comment: str


def probe(path: str | os.PathLike) -> VideoInfo:
    """What the file holds; its first frame is decoded, since only that proves a video and tells which side is up.

    Raises:
        FileNotFoundError, MediaError: no video, damaged beyond its first frame, or beyond the limits.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        sound = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream.duration and stream.duration > 0:
            seconds = stream.duration * stream.time_base
        else:
            seconds = Fraction(max(0, container.duration or 0), av.time_base)
        rate = frame_rate(stream)
        height, width = _shown_size(next(decoded(container, stream, path)), pixel_aspect(stream))
        return VideoInfo(
            frames=stream.frames or max(1, round(seconds * rate)),
            fps=rate,
            height=height,
            width=width,
            duration=float(seconds),
            codec=stream.codec_context.name,
            has_audio=sound is not None,
            sample_rate=sound.codec_context.sample_rate if sound else None,
            channels=sound.codec_context.channels if sound else None,
            audio_codec=sound.codec_context.name if sound else None,
            comment=container.metadata.get("comment", ""),
        )


def frame_rate(stream: "av.VideoStream") -> Fraction:
    """Frames a second as the header says; a nonsensical claim (a tick of the clock, say) becomes 25."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= MAX_FPS:
            return Fraction(rate)
    return Fraction(25)


def pixel_aspect(stream: "av.VideoStream") -> Fraction:
    """Width of a pixel over its height; a claim beyond 1:4 or 4:1 is taken for a mistake."""
    aspect = stream.codec_context.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _shown_size(frame: "av.VideoFrame", aspect: Fraction) -> tuple[int, int]:
    height, width = frame.height, max(1, round(frame.width * aspect))
    return (width, height) if frame.rotation % 180 else (height, width)


def iterate_frames(
    path: str | os.PathLike,
    *,
    fps: Number | None = None,
    height: int | None = None,
    width: int | None = None,
    start: Number = 0,
    end: Number | None = None,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames from `start` to before `end` (seconds), in memory that does not grow with the length of the video.

    fps: None gives every stored frame; else see `retime`, and a frame that is shown again is the same array. height,
    width: see `fit`; one alone keeps the aspect. A damaged stream gives what can be decoded. All frames have
    the size of the first.

    Raises:
        FileNotFoundError, MediaError: at once for the arguments, else where the file breaks a limit.
    """
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise MediaError(f"{float(fps)} frames a second: above 0 and at most {MAX_FPS} can be read; give another rate.")
    start, end = Fraction(start), None if end is None else Fraction(end)
    fps = None if fps is None else Fraction(fps).limit_denominator(1001)
    if start < 0 or (end is not None and end <= start):
        raise MediaError(f"from {float(start)} s to {end and float(end)} s: 0 ≤ start < end is needed.")
    check_size("the size asked for", height or 1 if height != 0 else 0, width or 1 if width != 0 else 0)
    return _iterate(path, fps, height, width, start, end)


def _iterate(path, fps, height, width, start, end) -> Iterator[np.ndarray]:
    with open_media(path) as container:
        stream = video_stream(container, path)
        aspect, period = pixel_aspect(stream), 1 / frame_rate(stream)
        tolerance = min((stream.time_base or Fraction(1)) / 2, Fraction(1, 1000))
        zero, unshown = origin(container), None
        if fps is not None and zero is not None and stream.time_base:
            codec, ticks = stream.codec_context.name, stream.time_base
            unshown = Unshown(codec, ticks, zero=zero, start=start, fps=fps, tolerance=tolerance)
        timed = _timed(decoded_from(container, stream, path, start, unshown), zero, period, path)
        if fps is not None:
            last = min(period, _LONGEST_LAST)
            timed = _without_gaps(timed, end, path)
            frames = retime(timed, fps=fps, start=start, end=end, last=last, tolerance=tolerance)
        else:
            frames = _between(timed, start, end, tolerance)
        goal = shown = pixels = None
        for frame in frames:
            if goal is None:
                goal = target_size(*_shown_size(frame, aspect), height, width)
                check_size(path, *goal)
            if frame is not shown:  # a frame that is held is converted once
                shown, pixels = frame, _pixels(frame, goal, aspect, path)
            yield pixels
        if goal is None:
            raise MediaError(f"{os.fspath(path)}: no frame from {float(start)} s on; it is shorter, start earlier.")


def _timed(frames, zero, period, path) -> Iterator[tuple[Fraction, "av.VideoFrame"]]:
    """Seconds since the start beside every frame; they never run backwards, and a missing timestamp is filled in."""
    previous = None
    for frame in frames:
        if frame.pts is None:
            time = Fraction(0) if previous is None else previous + period
        else:
            tick = frame.time_base
            time = Fraction(frame.pts * tick.numerator, tick.denominator)
            zero = time if zero is None else zero
            time = time - zero if zero else time
        if time > MAX_SECONDS:
            raise MediaError(
                f"{os.fspath(path)}: a frame at {float(time):,.0f} s; up to {MAX_SECONDS:,} s are read; cut the video."
            )
        previous = time if previous is None else max(time, previous)
        yield previous, frame


def _without_gaps(timed, end, path) -> Iterator[tuple[Fraction, "av.VideoFrame"]]:
    """Raises where a frame would be shown for longer than `MAX_HELD`, if anything of that is asked for."""
    newest = None
    for time, frame in timed:
        if newest is not None and time - newest > MAX_HELD and (end is None or newest + MAX_HELD < end):
            raise MediaError(
                f"{os.fspath(path)}: the frame at {float(newest):g} s is followed by one at {float(time):,.0f} s; one "
                f"is shown for up to {MAX_HELD} s; cut the video there, or convert it anew."
            )
        newest = time
        yield time, frame


def _between(timed, start, end, tolerance) -> Iterator["av.VideoFrame"]:
    for time, frame in timed:
        if end is not None and time + tolerance >= end:
            return
        if time + tolerance >= start:
            yield frame


def _pixels(frame: "av.VideoFrame", goal: tuple[int, int], aspect: Fraction, path) -> np.ndarray:
    """RGB, upright, in the size wanted: libav scales and converts at once, bicubic, and the middle is cut out."""
    check_size(path, frame.height, frame.width)  # a stream may change its size
    unnamed_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
    turns = round(frame.rotation / 90) % 4
    goal = goal[::-1] if turns % 2 else goal
    scale = max(goal[0] / frame.height, goal[1] / (frame.width * aspect))
    height, width = _covering(frame.height * scale, goal[0]), _covering(frame.width * aspect * scale, goal[1])
    ribbon = max(height / goal[0], width / goal[1]) > _RIBBON
    if ribbon:
        height, width = frame.height, frame.width
    rgb = frame.reformat(
        width, height, "rgb24", "ITU709" if unnamed_hd else None,
        dst_color_range="JPEG", interpolation=Interpolation.BICUBIC, threads=1,
    ).to_ndarray()  # fmt: skip
    if ribbon:
        middle = fit(rgb, *goal, float(aspect))
    else:
        top, left = (height - goal[0]) // 2, (width - goal[1]) // 2
        middle = rgb[top : top + goal[0], left : left + goal[1]]
    return np.ascontiguousarray(np.rot90(middle, turns))


def _covering(length: Number, side: int) -> int:
    """The length in whole pixels, an even number more than the side, so that the middle is the middle.

    227.6 of 128 → 228    170.7 of 128 → 170
    """
    return side + 2 * round((length - side) / 2)


def read_video(
    path: str | os.PathLike,
    *,
    fps: Number | None = None,
    height: int | None = None,
    width: int | None = None,
    start: Number = 0,
    end: Number | None = None,
    num_frames: int | None = None,
    max_bytes: int = MAX_VIDEO_BYTES,
) -> UInt8[np.ndarray, "t h w 3"]:
    """`iterate_frames` in one array, at most `num_frames` of them.

    Raises:
        MediaError: also when the header claims, or the file holds, more than `max_bytes` of frames.
    """
    if num_frames is not None and num_frames < 1:
        raise MediaError(f"{num_frames} frames: at least 1 can be read; ask for more.")
    frames = iterate_frames(path, fps=fps, height=height, width=width, start=start, end=end)
    info = probe(path)
    claimed = (min(info.duration, float(end or info.duration)) - float(start)) * float(fps or info.fps)
    goal = target_size(info.height, info.width, height, width)
    _check_bytes(path, min(max(claimed, 1), num_frames or claimed), goal, max_bytes)
    store, count = bytearray(), 0  # grows in place; the array below is a view of it, no second copy
    for frame in frames:
        goal = frame.shape[:2]  # a damaged stream may begin in another size than its header says
        _check_bytes(path, count + 1, goal, max_bytes)
        store += frame.tobytes()
        count += 1
        if count == num_frames:
            break
    return np.frombuffer(store, np.uint8).reshape(count, *goal, 3)


def _check_bytes(path: str | os.PathLike, frames: int | float, size: tuple[int, int], max_bytes: int) -> None:
    if frames * size[0] * size[1] * 3 > max_bytes:
        raise MediaError(
            f"{os.fspath(path)}: {frames:,.0f} frames of {size[0]}×{size[1]}; at most {max_bytes:,} bytes are "
            "read at once; give start and end, a smaller size, or read it in pieces."
        )
