"""Sound of any file → float32 [s], one channel, at one rate; second 0 is where the picture starts, if there is one."""

import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from jaxtyping import Float

from videopoet_jax.data.media_open import (
    MAX_SECONDS,
    SAMPLE_RATES,
    MediaError,
    Number,
    audio_stream,
    check_sound,
    decoded_from,
    open_media,
    origin,
)

MAX_AUDIO_BYTES = 1 << 28  # that `read_audio` returns: 70 minutes at 16 kHz; `iterate_audio` has no such limit
MAX_FRAME_SAMPLES = 1 << 21  # in one frame of the codec, all channels; FLAC's largest is 65,535
_JITTER = Fraction(1, 20)  # seconds by which timestamps may be off (AVI, MPEG) without meaning a gap
_MIX = {"rematrix_maxval": "1"}  # else two equal channels would come out 1.41 times as loud, and be clipped
_PADDING = 4_096  # an encoder fills its last frame with less silence than this


def iterate_audio(
    path: str | os.PathLike,
    *,
    sample_rate: int = 16_000,
    start: Number = 0,
    end: Number | None = None,
) -> Iterator[Float[np.ndarray, " s"]]:
    """Chunks of sound from `start` to before `end` (seconds), in memory that does not grow with the length.

    All channels are mixed into one. Where packets are lost, silence keeps picture and sound together; sound that begins
    after the picture begins with silence.

    Raises:
        FileNotFoundError, MediaError: at once for the arguments, else no sound, damage, or a limit.
        EmptyStream: a stream of sound with nothing in it.
    """
    start, end = Fraction(start), None if end is None else Fraction(end)
    low, high = SAMPLE_RATES
    if not low <= sample_rate <= high:
        raise MediaError(f"{sample_rate} Hz: {low:,} to {high:,} Hz can be read; give another sample rate.")
    if start < 0 or (end is not None and end <= start):
        raise MediaError(f"from {float(start)} s to {end and float(end)} s: 0 ≤ start < end is needed.")
    return _cut(path, sample_rate, start, end)


def _cut(path, sample_rate, start, end) -> Iterator[np.ndarray]:
    position, stop = round(start * sample_rate), None if end is None else round(end * sample_rate)
    begun = position
    with open_media(path) as container:
        stream = audio_stream(container, path)
        placed = _placed(container, stream, path, sample_rate, start)
        for place, chunk in _without_padding(placed, *_stated_stop(container, stream, sample_rate)):
            while position < place and position != stop:
                silence = min(place - position, sample_rate, sample_rate if stop is None else stop - position)
                yield np.zeros(silence, np.float32)
                position += silence
            if position == stop:
                return
            piece = chunk[position - place : None if stop is None else max(0, stop - place)]
            if piece.size:
                yield piece
                position += piece.size
    if position == begun:
        raise MediaError(f"{os.fspath(path)}: no sound from {float(start)} s on; it is shorter, start earlier.")


def _placed(container, stream, path, sample_rate, start) -> Iterator[tuple[int, np.ndarray]]:
    """Resampled chunks, each with the number of its first sample; that number jumps where packets are lost."""
    zero, resampler, shape, place, expected = origin(container), None, None, None, None
    for frame in decoded_from(container, stream, path, start):
        time = _time(frame, zero, expected, path)
        before, shape = shape, (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != before:
            check_sound(path, frame.sample_rate, frame.layout.nb_channels)
        if frame.samples * frame.layout.nb_channels > MAX_FRAME_SAMPLES:
            raise MediaError(f"{os.fspath(path)}: {frame.samples:,} samples in one packet of sound; convert it to wav.")
        if shape != before or abs(time - expected) > _JITTER:
            if resampler is not None:
                for chunk in resampler.resample(None):
                    yield place, chunk.to_ndarray()[0]
                    place += chunk.samples
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate, options=_MIX)
            place = round(time * sample_rate) if place is None else max(place, round(time * sample_rate))
            expected = time
        expected += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None  # the place is counted here; the resampler must not move sound about
        for chunk in resampler.resample(frame):
            yield place, chunk.to_ndarray()[0]
            place += chunk.samples
    for chunk in resampler.resample(None):
        yield place, chunk.to_ndarray()[0]
        place += chunk.samples


def _time(frame, zero, expected, path) -> Fraction:
    """Seconds since second 0 at which the frame begins; without a timestamp it follows the frame before."""
    if frame.pts is None:
        return expected or Fraction(0)
    time = frame.pts * frame.time_base - (zero or 0)
    if time > MAX_SECONDS:
        raise MediaError(
            f"{os.fspath(path)}: sound at {float(time):,.0f} s; at most {MAX_SECONDS:,} s are read; cut the file."
        )
    return time


def _stated_stop(container, stream, sample_rate) -> tuple[int | None, int]:
    """Where an mp4 says that its sound ends, and how much more its last frame may hold, both in our samples."""
    if "mp4" not in container.format.name or not stream.duration or stream.start_time is None:
        return None, 0
    seconds = (stream.start_time + stream.duration) * stream.time_base - (origin(container) or 0)
    return round(seconds * sample_rate), _PADDING * sample_rate // stream.codec_context.sample_rate + 1


def _without_padding(placed, stated_stop: int | None, padding: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cuts off the encoder's padding; a file that goes on for longer than that is kept whole, its header was wrong."""
    tail, held = [], 0
    for place, chunk in placed:
        inside = chunk.size if stated_stop is None else min(chunk.size, max(0, stated_stop - place))
        if inside:
            yield place, chunk[:inside]
        if inside < chunk.size:
            tail.append((place + inside, chunk[inside:]))
            held += chunk.size - inside
        if held > padding:
            yield from tail
            tail, held, stated_stop = [], 0, None


def read_audio(
    path: str | os.PathLike,
    *,
    sample_rate: int = 16_000,
    start: Number = 0,
    end: Number | None = None,
    max_bytes: int = MAX_AUDIO_BYTES,
) -> Float[np.ndarray, " s"]:
    """`iterate_audio` in one array; shorter than asked for where the sound ends before `end`.

    Raises:
        MediaError: also when there is more than `max_bytes` of it.
    """
    chunks, size = [], 0
    for chunk in iterate_audio(path, sample_rate=sample_rate, start=start, end=end):
        chunks.append(chunk)
        size += chunk.nbytes
        if size > max_bytes:
            raise MediaError(
                f"{os.fspath(path)}: more than {max_bytes:,} bytes of sound at {sample_rate:,} Hz; give start and end, "
                "or read it in pieces."
            )
    return np.concatenate(chunks)


def is_silent(path: str | os.PathLike, *, start: Number = 0, end: Number | None = None) -> bool:
    """Whether the sound from `start` to before `end` (seconds) is nothing that 16 bits tell from silence.

    Reads no further than to what is not.

    Raises:
        FileNotFoundError, MediaError: as `iterate_audio`.
    """
    return all(np.abs(chunk).max() < 0.5 / 32_767 for chunk in iterate_audio(path, start=start, end=end))
