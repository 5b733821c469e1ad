"""The codes of a film in one npz file, which NumPy reads too: `np.load("film.npz")["video"]`. Nothing is pickled.

    version                           int64          1
    video                             int32 [t h w]  a code for each latent; the first frame is one, then `stride` each
    audio                             int32 [f q]    a code for each 20 ms and level; absent for a silent film
    frames, height, width             int64          of the picture; the last latent may stand for fewer frames
    fps                               float64
    sample_rate                       int64          absent for a silent film
    video_tokenizer, audio_tokenizer  text           digests of the models that speak these codes
    made_from                         text           what they were made from, by which a second run knows its own work

Codes are read in pieces, and a header is believed only as far as its limits, so neither a long film nor a hostile file
fills the memory. Ten hours at 8 frames a second are 72,001 latents: 4.6 MB of codes at 4×4 (nano, 64×64), 74 MB at
16×16 (128×128, stride 8) before compression.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from videopoet_jax.pretrained.files import write_atomically

VERSION = 1
MAX_LATENTS, MAX_LEVELS = 1 << 20, 64  # of one moment; 8192×8192 pixels at stride 8
_MAX_SMALL = 1 << 16  # bytes of everything that is no array of codes
_CHECKED_AT_ONCE = 1 << 20  # bytes, or a row if that is longer
_DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class Film:
    """What a file says beside its codes; None for what a silent film lacks."""

    frames: int
    height: int
    width: int
    fps: float
    sample_rate: int | None
    video_tokenizer: str
    audio_tokenizer: str | None
    made_from: str


def write_codes(
    path: str | os.PathLike, film: Film, video: Int[np.ndarray, "t h w"], audio: Int[np.ndarray, "f q"] | None
) -> None:
    """The file appears whole or not at all; arrays that are mapped from a disk are not brought into memory."""
    small = {name: value for name, value in asdict(film).items() if value is not None}
    arrays = {"video": video} if audio is None else {"video": video, "audio": audio}

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, version=VERSION, **arrays, **small)

    write_atomically(Path(path), write)


class CodeFile:
    """A file that `write_codes` wrote.

    with CodeFile("film.npz") as file:
        file.film.frames, file.video_shape, file.audio_shape      # audio_shape is None for a silent film
        for codes in file.video(rows=64): …                       # int32 [t h w] in pieces

    Raises:
        FileNotFoundError, ValueError: no such file, damaged, of another kind or of a newer version.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file; give an npz that `videopoet tokenize` wrote.")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (*_DAMAGE, OSError) as error:
            raise self._damaged(error) from error
        try:
            self._names = {name.removesuffix(".npy") for name in self._zip.namelist()}
            version = self._small("version", int)
            if version != VERSION:
                raise self._damaged(f"version {version}, this library reads {VERSION}")
            self.video_shape = self._shape("video", 3, MAX_LATENTS)
            self.audio_shape = self._shape("audio", 2, MAX_LEVELS) if "audio" in self._names else None
            sound = {"sample_rate": int, "audio_tokenizer": str} if self.audio_shape else {}
            wanted = {"frames": int, "height": int, "width": int, "fps": float, "video_tokenizer": str,
                      "made_from": str, **sound}  # fmt: skip
            values = {name: self._small(name, kind) for name, kind in wanted.items()}
            if not (0 < values["fps"] < math.inf and values["frames"] > 0):
                raise self._damaged(f"{values['frames']} frames at {values['fps']:g} a second")
            self.film = Film(**{"sample_rate": None, "audio_tokenizer": None} | values)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "CodeFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def video(self, rows: int) -> Iterator[Int[np.ndarray, "_t h w"]]:
        """The video's codes, `rows` latents at a time."""
        return self._pieces("video", self.video_shape, rows)

    def audio(self, rows: int) -> Iterator[Int[np.ndarray, "_f q"]]:
        """The sound's codes, `rows` frames of sound at a time; none for a silent film."""
        return iter(()) if self.audio_shape is None else self._pieces("audio", self.audio_shape, rows)

    def check(self) -> None:
        """Reads all codes through, in constant memory: a ValueError if a byte of them is damaged."""
        for pieces, shape in ((self.video, self.video_shape), (self.audio, self.audio_shape)):
            for _ in pieces(max(1, _CHECKED_AT_ONCE // (4 * math.prod(shape[1:])))) if shape else ():
                pass

    def _pieces(self, name: str, shape: tuple[int, ...], rows: int) -> Iterator[np.ndarray]:
        size = 4 * math.prod(shape[1:])
        with self._zip.open(f"{name}.npy") as file:
            self._header(file)
            for first in range(0, shape[0], rows):
                count = min(rows, shape[0] - first)
                try:
                    data = file.read(count * size)
                    yield np.frombuffer(data, np.int32).reshape(count, *shape[1:])
                except _DAMAGE as error:
                    raise self._damaged(error) from error
            if file.read(1):  # a header that says too little would leave the rest, and so the checksum, unread
                raise self._damaged(f"{name} holds more than {list(shape)}")

    def _shape(self, name: str, axes: int, most: int) -> tuple[int, ...]:
        shape, dtype = self._read(name, self._header)
        if dtype != np.int32 or len(shape) != axes or 0 in shape or math.prod(shape[1:]) > most:
            raise self._damaged(f"{name} is {dtype} {list(shape)}")
        return shape

    def _small(self, name: str, kind: type) -> int | float | str:
        def read(file) -> np.generic:
            shape, dtype = self._header(file)
            if shape or dtype.itemsize > _MAX_SMALL or dtype.kind not in {int: "i", float: "if", str: "U"}[kind]:
                raise ValueError(f"{name} is {dtype} {list(shape)}")
            return np.frombuffer(file.read(dtype.itemsize), dtype)[0]

        return kind(self._read(name, read))

    def _read(self, name: str, read):
        try:
            with self._zip.open(f"{name}.npy") as file:
                return read(file)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    @staticmethod
    def _header(file) -> tuple[tuple[int, ...], np.dtype]:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("an array of another format")
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        if columns_first and len(shape) > 1:
            raise ValueError("an array stored by columns")
        return shape, dtype

    def _damaged(self, why: object) -> ValueError:
        return ValueError(
            f"{self.path}: not codes of a film, or damaged ({why}); make it anew with `videopoet tokenize`."
        )
