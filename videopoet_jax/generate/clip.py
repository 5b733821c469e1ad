"""`Clip`: what generation gives back. Frames, sound, and the way to a file."""

import base64
import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from videopoet_jax.data.media import PICTURES, write_image, write_video


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip of video with its sound; a notebook shows it by itself.

    Attributes:
        frames: uint8 [t h w 3].
        fps: frames a second.
        audio: float32 [s] in [-1, 1], as long as the picture; None for a silent clip.
        sample_rate: samples a second; None for a silent clip.
        caption: what a captioning model wrote of it.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: float
    audio: Float[np.ndarray, " s"] | None = None
    sample_rate: int | None = None
    caption: str | None = None

    def save(self, path: str | os.PathLike) -> None:
        """Writes an mp4 (H.264, AAC), or of a clip of one frame a picture (png, jpg, webp); the file appears whole or
        not at all."""
        if Path(path).suffix.lower() in PICTURES and len(self.frames) == 1:
            return write_image(path, self.frames[0])
        write_video(path, self.frames, fps=self.fps, audio=self.audio, sample_rate=self.sample_rate)

    def _repr_html_(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            self.save(path)
            data = base64.b64encode(path.read_bytes()).decode()
        width = max(256, self.frames.shape[2])
        return f'<video controls loop width="{width}" src="data:video/mp4;base64,{data}"></video>'
