"""Frames and sound → mp4 (H.264 4:2:0 and AAC, `+faststart`) and wav. A file appears whole or not at all.

An odd height or width is made even by repeating the last row or column, since 4:2:0 stores colour for 2×2 pixels.
"""

import os
import wave
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from videopoet_jax.data.media_open import MAX_FPS, SAMPLE_RATES, THREADED_PIXELS, MediaError, Number, check_size
from videopoet_jax.pretrained.files import write_atomically

SUFFIXES = (".mp4", ".m4v", ".mov")
# Ours: 17 is taken for visually lossless; a codec under test must not be blamed for the compression of the file.
CRF, PRESET, AUDIO_BIT_RATE = 17, "medium", 128_000
_BT709, _LIMITED_RANGE = 1, 1  # the codes of H.264's table E-5 and of libav's AVCOL_RANGE_MPEG


class VideoWriter:
    """Writes a film of any length in constant memory.

        with VideoWriter("x.mp4", fps=8, sample_rate=16_000) as writer:
            for frames, waveform in film:
                writer.write(frames)            # uint8 [t h w 3] or [h w 3]
                writer.write_audio(waveform)    # float32 [s] in [-1, 1]

    Hand over picture and sound of the same seconds in turn: what runs ahead is held in memory. The size of the first
    frame is that of the film. An exception inside the block, or a full disk, leaves no file. `comment` is kept in the
    file, for `probe`.
    """

    def __init__(self, path: str | os.PathLike, *, fps: Number, sample_rate: int | None = None, comment: str = ""):
        self.path, self.comment = Path(path), comment
        if self.path.suffix.lower() not in SUFFIXES:
            raise MediaError(f"{self.path}: videos are written as {', '.join(SUFFIXES)}; name it {self.path.stem}.mp4.")
        if self.path.is_dir():
            raise MediaError(f"{self.path}: a directory; name a file in it.")
        self.fps = Fraction(fps).limit_denominator(1001)
        if not 0 < self.fps <= MAX_FPS:
            raise MediaError(f"{fps} frames a second: above 0 and at most {MAX_FPS} can be written; give another rate.")
        low, high = 8_000, 96_000  # AAC's
        if sample_rate is not None and not low <= sample_rate <= high:
            raise MediaError(f"{sample_rate} Hz: AAC takes {low:,} to {high:,} Hz; resample the sound.")
        self.sample_rate = sample_rate
        self.frames_written = self.samples_written = 0
        self._container = self._video = self._audio = self._size = None
        self._held: list[np.ndarray] = []

    def __enter__(self) -> "VideoWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        # "file:" keeps libav from reading a protocol out of the name.
        container_format = "mov" if self.path.suffix.lower() == ".mov" else "mp4"
        try:
            self._temporary.touch(exist_ok=False)
            self._container = av.open(
                f"file:{self._temporary.absolute()}",
                "w",
                format=container_format,
                options={"movflags": "+faststart"},
            )
            self._container.metadata["comment"] = self.comment
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        try:
            if kind is None:
                self._finish()
                self._temporary.replace(self.path)
        finally:
            self._abandon()

    def _finish(self) -> None:
        if self._video is None:
            raise MediaError(f"{self.path}: no frame was written; a video needs at least one.")
        for stream in (self._video, self._audio):
            if stream is not None:
                self._container.mux(stream.encode(None))
        self._container.close()
        self._container = None

    def _abandon(self) -> None:
        """Closes what is still open; an error in that is of no interest, since its file is thrown away."""
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError, ValueError):
                container = None
        self._temporary.unlink(missing_ok=True)

    def write(self, frames: np.ndarray) -> None:
        """One frame uint8 [h w 3] or several [t h w 3]."""
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3:
            raise MediaError(f"frames {frames.dtype}{list(frames.shape)}: uint8 [t h w 3] is needed; convert.")
        for frame in frames if frames.ndim == 4 else frames[None]:
            self._write_frame(frame)

    def _write_frame(self, frame: np.ndarray) -> None:
        if self._size is None:
            self._open_streams(*frame.shape[:2])
        if frame.shape[:2] != self._size:
            raise MediaError(
                f"frame {self.frames_written} is {frame.shape[0]}×{frame.shape[1]}, the film {self._size[0]}×"
                f"{self._size[1]}; frames of one film have one size."
            )
        frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
        )
        picture.pts, picture.time_base = self.frames_written, 1 / self.fps
        self._container.mux(self._video.encode(picture))
        self.frames_written += 1

    def _open_streams(self, height: int, width: int) -> None:
        check_size(self.path, height, width)
        self._size = (height, width)
        options = {"crf": str(CRF), "preset": PRESET}
        if height * width < THREADED_PIXELS:
            options["threads"] = "1"
        self._video = self._container.add_stream("libx264", rate=self.fps, options=options)
        context = self._video.codec_context
        context.height, context.width, context.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        if self.sample_rate is not None:
            self._audio = self._container.add_stream("aac", rate=self.sample_rate, layout="mono")
            self._audio.bit_rate = AUDIO_BIT_RATE
        for held in self._held:
            self._encode_audio(held)
        self._held.clear()

    def write_audio(self, waveform: np.ndarray) -> None:
        """The next samples, float [s]; what is outside [-1, 1] is clipped."""
        if self.sample_rate is None:
            raise MediaError(f"{self.path}: opened without sound; give sample_rate to VideoWriter.")
        waveform = _checked(waveform)
        if self._video is None:  # the streams are opened with the first frame's size
            self._held.append(waveform)
        else:
            self._encode_audio(waveform)

    def _encode_audio(self, waveform: np.ndarray) -> None:
        if waveform.size == 0:
            return
        chunk = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        chunk.sample_rate, chunk.time_base = self.sample_rate, Fraction(1, self.sample_rate)
        chunk.pts = self.samples_written
        self._container.mux(self._audio.encode(chunk))
        self.samples_written += waveform.size


def _checked(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise MediaError(f"sound {waveform.dtype}{list(waveform.shape)}: float [s] in [-1, 1], one channel, is needed.")
    if not np.isfinite(waveform).all():
        raise MediaError("sound with NaN or infinite samples: finite samples in [-1, 1] are needed.")
    return np.ascontiguousarray(np.clip(waveform, -1.0, 1.0), dtype=np.float32)


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray | Iterable[np.ndarray],
    *,
    fps: Number,
    audio: np.ndarray | None = None,
    sample_rate: int | None = None,
) -> None:
    """Frames uint8 [t h w 3], or an iterable of frames [h w 3], and sound float [s] in [-1, 1] → an mp4 file.

    Raises:
        MediaError, OSError: wrong shapes or types, no frame, a directory that cannot be written, a full disk.
    """
    if (audio is None) != (sample_rate is None):
        raise MediaError(f"sound given: {audio is not None}, its sample rate: {sample_rate}; give both or neither.")
    waveform = None if audio is None else _checked(audio)
    with VideoWriter(path, fps=fps, sample_rate=sample_rate) as writer:
        for frame in frames:
            writer.write(frame)
            if waveform is not None:  # the sound of this frame beside it, so that neither waits in memory
                due = int(writer.frames_written * sample_rate / writer.fps)
                writer.write_audio(waveform[writer.samples_written : due])
        if waveform is not None:
            writer.write_audio(waveform[writer.samples_written :])


def write_wav(path: str | os.PathLike, chunks: np.ndarray | Iterable[np.ndarray], *, sample_rate: int) -> None:
    """Samples float [s] in [-1, 1], or an iterable of such chunks → a 16-bit mono wav file."""
    low, high = SAMPLE_RATES
    if not low <= sample_rate <= high:
        raise MediaError(f"{sample_rate} Hz: {low:,} to {high:,} Hz can be written; resample the sound.")
    first = [chunks] if isinstance(chunks, np.ndarray) else []
    rest = [] if first else chunks

    def write(temporary: Path) -> None:
        with wave.open(str(temporary), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            for chunk in chain(first, rest):
                file.writeframes(np.round(_checked(chunk) * 32_767).astype("<i2").tobytes())

    write_atomically(Path(path), write)
