"""H.265 and H.266 as yardsticks: a clip through an encoder and its decoder, with the bits and seconds it took.

    code(H265, frames, fps=8, quality=38)  →  Coded(frames, bits, file_bytes, encode_seconds, decode_seconds)

The ffmpeg that imageio-ffmpeg brings holds x265, vvenc and decoders of both; it runs as a process, frames go through
pipes. Both encoders are used at their best, so that nothing leans towards the tokenizer:

- x265 `veryslow` and vvenc `slow`. Measured on 17 frames of 128×128: x265's `placebo` saved 1 % of the bits and took
  1.7 times as long, vvenc's `slower` gained 0.15 dB and took five times as long.
- Tuned for PSNR (x265 `tune=psnr`, vvenc `qpa=0`). Measured on two such clips, x265's perceptual tuning took 9 % more
  bits for the same PSNR, 0 to 5 % more for the same VMAF and 1 to 6 % fewer for the same LPIPS; vvenc's -4 to 1 %,
  -8 to 11 % and 1 to 2 % more.
- One intra frame at the start: the group of pictures is as long as the clip.
- 10 bits, BT.709, which rounds less than 8. vvenc takes 4:2:0 alone; x265 is run at 4:4:4 too, since the tokenizer
  keeps colour in full.
- Constant quality (x265 `crf`, vvenc `qp`), no limit on the rate.
"""

import importlib.util
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

_EXACT = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"  # between RGB and YUV: swscale's default is rougher
_X265 = "log-level=error:info=0:keyint=-1"  # info: a text of 2 kB about the settings, which would count as bits
_FOREVER = 100_000  # seconds until vvenc's next intra frame


@dataclass(frozen=True)
class Codec:
    """An encoder; `qualities` are its settings from fewest bits to most, `stream` ffmpeg's name of its bare stream."""

    name: str
    stream: str
    pixels: str
    qualities: tuple[int, ...]
    options: Callable[[int], list[str]]


class Coded(NamedTuple):
    """A clip as a codec gives it back. `bits` are those of the pictures (see `picture_bytes`), `file_bytes` of all."""

    frames: UInt8[np.ndarray, "t h w 3"]
    bits: int
    file_bytes: int
    encode_seconds: float
    decode_seconds: float


def _x265(quality: int) -> list[str]:
    return ["-c:v", "libx265", "-preset", "veryslow", "-tune", "psnr", "-crf", f"{quality}", "-x265-params", _X265]


def _vvenc(quality: int) -> list[str]:
    return ["-c:v", "libvvenc", "-preset", "slow", "-qpa", "0", "-qp", f"{quality}", "-period", f"{_FOREVER}"]


# Steps of 4 change the bits by about 1.6. 51 and 63 are the coarsest that the standards have.
H265 = Codec("H.265", "hevc", "yuv420p10le", tuple(range(51, 6, -4)), _x265)
H265_444 = Codec("H.265, 4:4:4", "hevc", "yuv444p10le", tuple(range(51, 6, -4)), _x265)
H266 = Codec("H.266", "vvc", "yuv420p10le", tuple(range(63, 6, -4)), _vvenc)
CODECS = (H265, H265_444, H266)


def code(codec: Codec, frames: UInt8[np.ndarray, "t h w 3"], *, fps: int | float, quality: int) -> Coded:
    """`frames` through the codec and back. Seconds are of ffmpeg's work without the start of its process.

    Raises:
        ValueError: sides that 4:2:0 cannot halve.
        RuntimeError: no ffmpeg, or one that cannot do it.
    """
    t, h, w, _ = frames.shape
    if h % 2 or w % 2:
        raise ValueError(f"{h}×{w} pixels: 4:2:0 halves both sides; give even ones.")
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    to_yuv = f"scale=out_color_matrix=bt709:out_range=tv:flags={_EXACT},format={codec.pixels}"
    to_rgb = f"scale=in_color_matrix=bt709:in_range=tv:flags={_EXACT},format=rgb24"
    source = [*raw, "-s", f"{w}x{h}", "-r", f"{fps}", "-i", "-", "-vf", to_yuv]
    encoded = run_ffmpeg([*source, *codec.options(quality), "-f", codec.stream, "-"], frames.tobytes())
    decoded = run_ffmpeg(
        ["-f", codec.stream, "-i", "-", "-vf", to_rgb, "-fps_mode", "passthrough", *raw, "-"], encoded.output
    )
    if len(decoded.output) != frames.size:
        raise RuntimeError(
            f"{codec.name} at {quality}: {len(decoded.output)} bytes of frames came back of {frames.size}; "
            "try another size or number of frames."
        )
    return Coded(
        np.frombuffer(decoded.output, np.uint8).reshape(t, h, w, 3),
        8 * picture_bytes(encoded.output, codec.stream),
        len(encoded.output),
        encoded.seconds,
        decoded.seconds,
    )


def picture_bytes(stream: bytes, kind: str) -> int:
    """Bytes that say something of pictures: NAL units (without start codes) of slices, picture headers and filters.

    Parameter sets (77 bytes in x265, 264 in vvenc), delimiters and messages are the same for every clip, like the
    configuration of a tokenizer, and a tokenizer's fixed number of codes needs no start codes: neither side pays.
    """
    units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")[1:]]
    if kind == "hevc":  # H.265, table 7-1: 0 … 31 are slices
        return sum(len(unit) for unit in units if unit[0] >> 1 & 63 <= 31)
    # H.266, table 5: 0 … 11 are slices; 17, 18 carry adaptive loop filters, 19 is a picture header.
    return sum(len(unit) for unit in units if unit[1] >> 3 <= 11 or 17 <= unit[1] >> 3 <= 19)


class Ran(NamedTuple):
    output: bytes
    seconds: float


def run_ffmpeg(arguments: list[str], given: bytes = b"", folder: Path | None = None) -> Ran:
    """Runs ffmpeg in `folder` with `given` on its standard input.

    Raises:
        RuntimeError: it is not installed, or it failed: its last words.
    """
    start = [ffmpeg(), "-hide_banner", "-nostats", "-loglevel", "info", "-benchmark", "-y"]
    done = subprocess.run([*start, *arguments], input=given, capture_output=True, cwd=folder)
    said = done.stderr.decode(errors="replace")
    seconds = re.search(r"rtime=([\d.]+)s", said)
    if done.returncode or not seconds:
        words = next(
            (line for line in said.splitlines() if re.search(r"(?i)error|unknown|invalid|no such", line)), said
        )
        raise RuntimeError(f"ffmpeg: {words.strip()[-200:]}; imageio-ffmpeg 0.8.1 brings one that can do it.")
    return Ran(done.stdout, float(seconds[1]))


def ffmpeg() -> str:
    """Path of the ffmpeg that imageio-ffmpeg brings, or of the one that IMAGEIO_FFMPEG_EXE names."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise RuntimeError(
            "imageio-ffmpeg: not installed, it brings x265, vvenc and VMAF; pip install 'videopoet_jax[compression]'."
        )
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
