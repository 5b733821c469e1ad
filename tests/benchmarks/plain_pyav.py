"""What one writes who knows PyAV well and wants clips of a film: the peer of our reader in `input_pipeline.py`.

The file is read once, picture and sound together; swscale scales and converts in one go; the resampler mixes. Nothing
is checked, and all is held in memory.
"""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation


def clips(
    path: Path, *, fps: int, side: int, num_frames: int, sample_rate: int, seconds: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n t side side 3] and sound float32 [n s] of as many clips as the film, or its beginning, has."""
    frames: list[np.ndarray] = []
    sound: list[np.ndarray] = []
    end = Fraction(seconds) if seconds else Fraction(10**9)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], next(iter(container.streams.audio), None)
        video.codec_context.thread_count = 1
        zero, tolerance = (video.start_time or 0) * video.time_base, video.time_base / 2
        aspect = float(video.codec_context.sample_aspect_ratio or 1)
        resampler = av.AudioResampler("s16", "mono", sample_rate)
        held, time, period = None, Fraction(0), 1 / video.average_rate

        def show(until: Fraction) -> None:
            """The frame that is held, for every moment that comes before the next one."""
            moments = itertools.takewhile(lambda i: Fraction(i, fps) < min(until, end), itertools.count(len(frames)))
            if count := sum(1 for _ in moments):
                frames.extend([scaled(held, side, aspect)] * count)

        for packet in container.demux([video, audio] if audio else [video]):
            try:
                decoded = packet.decode()
            except av.FFmpegError:  # a damaged packet
                continue
            for frame in decoded:
                if isinstance(frame, av.VideoFrame):
                    time = time + period if frame.pts is None else frame.pts * frame.time_base - zero
                    if held is not None:
                        show(time - tolerance)
                    held = frame
                else:
                    if not sound:  # it may begin later than the picture
                        late = max(0, round((frame.pts * frame.time_base - zero) * sample_rate))
                        sound.append(np.zeros(late, np.int16))
                    sound.extend(chunk.to_ndarray()[0] for chunk in resampler.resample(frame))
            if time > end + 1:
                break
        show(time + period - tolerance)
        if sound:
            sound.extend(chunk.to_ndarray()[0] for chunk in resampler.resample(None))
    count, samples = len(frames) // num_frames, round(num_frames * sample_rate / fps)
    wave = np.zeros(count * samples, np.int16)
    if sound:
        heard = np.concatenate(sound)[: wave.size]
        wave[: heard.size] = heard
    pictures = np.stack(frames[: count * num_frames]).reshape(count, num_frames, side, side, 3)
    return pictures, wave.reshape(count, samples).astype(np.float32) / 32_768


def scaled(frame: av.VideoFrame, side: int, aspect: float) -> np.ndarray:
    """Scaled until it covers the square, of which the middle is cut out."""
    scale = side / min(frame.height, frame.width * aspect)
    height, width = (2 * round(length * scale / 2) for length in (frame.height, frame.width * aspect))
    picture = frame.reformat(width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1).to_ndarray()
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
