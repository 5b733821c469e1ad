"""Decoded clips: frames uint8 [t h w 3] and sound int16 [s], in memory up to a budget, beyond it in unnamed files."""

import errno
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Int16

from videopoet_jax.data.media import MediaError, Number, iterate_audio, iterate_frames, probe

CACHE_BYTES = 1 << 30  # of memory; 64×64 frames at 8 a second with sound take 130 kB a second, so 2 hours


class ArrayStore:
    """Turns streams of arrays into arrays. What fits into the budget stays in memory, the rest is mapped from files.

    The files are unlinked while they are open: they take space in `directory` and vanish with the process.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES, directory: str | os.PathLike | None = None):
        self.free, self.directory = max_bytes, directory

    def collect(self, chunks: Iterable[np.ndarray], row_shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """The chunks' rows one after another, [rows, *row_shape], read-only."""
        held, file, size = bytearray(), None, 0
        try:
            for chunk in chunks:
                data = np.ascontiguousarray(chunk, dtype).tobytes()
                size += len(data)
                if file is None and size > self.free:
                    file = tempfile.TemporaryFile(dir=self.directory, prefix="videopoet-clips-")  # noqa: SIM115
                    file.write(held)
                    held = bytearray()
                if file is None:
                    held += data
                else:
                    file.write(data)
            array = self._mapped(file, size) if file is not None and size else np.frombuffer(held, np.uint8)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            where = self.directory or tempfile.gettempdir()
            raise OSError(
                errno.ENOSPC, f"{where}: the disk is full; free space or name another cache directory"
            ) from error
        finally:
            if file is not None:
                file.close()  # a mapping stays valid
        if file is None:
            self.free -= size
        array = array.view(dtype).reshape(-1, *row_shape)
        array.flags.writeable = False
        return array

    @staticmethod
    def _mapped(file: BinaryIO, size: int) -> np.ndarray:
        file.flush()
        return np.memmap(file, np.uint8, "r", shape=(size,))


def to_pcm(wave: Float[np.ndarray, " s"]) -> Int16[np.ndarray, " s"]:
    """Sound in [-1, 1] as it is stored; what is outside is clipped."""
    return np.round(np.clip(wave, -1, 1) * 32_767).astype(np.int16)


def from_pcm(pcm: Int16[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Sound as it was, float32."""
    return pcm.astype(np.float32) / 32_767


@dataclass(frozen=True)
class StoredClip:
    """A decoded clip; `audio` is None where the file has no sound."""

    path: Path
    caption: str
    frames: np.ndarray  # uint8 [t h w 3]
    audio: np.ndarray | None  # int16 [s]

    def waveform(self, first: int, samples: int) -> np.ndarray:
        """float32 samples from `first` on; silence beyond the end, and where there is no sound."""
        wave = np.zeros(samples, np.float32)
        if self.audio is not None:
            piece = self.audio[first : first + samples]
            wave[: len(piece)] = from_pcm(piece)
        return wave


def decode_clip(
    path: Path, caption: str, store: ArrayStore, *, fps: Number, height: int, width: int, sample_rate: int
) -> StoredClip:
    """Decodes a whole clip, in memory that does not grow with its length beyond the store's budget.

    Sound that cannot be decoded is no sound, and neither is a track of silence.

    Raises:
        MediaError: no video that can be read.
    """
    frames = iterate_frames(path, fps=fps, height=height, width=width)
    pictures = store.collect(frames, (height, width, 3), np.uint8)
    audio = None
    if probe(path).has_audio:
        seconds = len(pictures) / fps
        sound = iterate_audio(path, sample_rate=sample_rate, end=seconds)
        try:
            audio = store.collect(map(to_pcm, sound), (), np.int16)
        except MediaError:
            audio = None
        else:
            audio = audio if audio.any() else None
    return StoredClip(path, caption, pictures, audio)
