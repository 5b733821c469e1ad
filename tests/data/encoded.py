"""Small media files of many kinds for the tests, made on the spot."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving_square(frames=20, height=64, width=96):
    """uint8 [t h w 3]: a red square goes right over blue, green grows with time."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 2] = 120
    for t in range(frames):
        left = 3 * t % max(1, width - 24)
        video[t, 16:40, left : left + 24] = (230, 20, 20)
        video[t, -16:, :, 1] = 10 * t % 250
    return video


def tone(seconds, hertz=440.0, sample_rate=16_000):
    """float32 [s]"""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)).astype(np.float32)


def encode(path, video, codec, *, fps=25, pix_fmt="yuv420p", times=None, sound=None, options=None, aspect=None):
    """Encodes with `codec`; `times` are timestamps in milliseconds, `sound` is (codec, rate, layout, [channels s])."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=Fraction(fps), options={"threads": "1"} | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], pix_fmt
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        heard = sound and file.add_stream(sound[0], rate=sound[1], layout=sound[2])
        for t, pixels in enumerate(video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (t, 1 / Fraction(fps)) if times is None else (times[t], Fraction(1, 1000))
            file.mux(stream.encode(frame))
        if sound:
            chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[3]), "fltp", sound[2])
            chunk.sample_rate, chunk.pts, chunk.time_base = sound[1], 0, Fraction(1, sound[1])
            file.mux(heard.encode(chunk))
            file.mux(heard.encode(None))
        file.mux(stream.encode(None))
    return path


def patched(source, target, edits):
    """A copy with bytes replaced: edits are (tag, which, offset after the tag, bytes)."""
    data = bytearray(Path(source).read_bytes())
    for tag, which, offset, new in edits:
        place = -1
        for _ in range(which + 1):
            place = data.index(tag, place + 1)
        data[place + len(tag) + offset : place + len(tag) + offset + len(new)] = new
    Path(target).write_bytes(data)
    return target


class Bits:
    """Writes the header syntax of H.264: u(n) and Exp-Golomb codes."""

    def __init__(self):
        self.bits = ""

    def u(self, count, value):
        self.bits += format(value, f"0{count}b")
        return self

    def ue(self, *values):
        for value in values:
            code = format(value + 1, "b")
            self.bits += "0" * (len(code) - 1) + code
        return self

    def unit(self, kind):
        """A NAL unit with its start code and emulation prevention."""
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        out, zeros = bytearray([kind]), 0
        for byte in (int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)):
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes(out)


def h264_claiming(height, width):
    """A raw stream of some 100 bytes whose header claims that size."""
    sequence = Bits().u(8, 66).u(8, 0).u(8, 62).ue(0, 0, 0, 0, 4).u(1, 0).ue(width // 16 - 1, height // 16 - 1).u(4, 12)
    picture = Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0).u(3, 0)
    slices = b"".join(Bits().ue(0, 7, 0).u(4, 0).ue(0, 0).u(2, 0).ue(0).unit(0x65) for _ in range(3))
    return sequence.unit(0x67) + picture.unit(0x68) + slices


def wav_claiming(sample_rate, channels, samples=2_000):
    """A wav file whose header claims that rate, those channels and four gigabytes."""
    block = min(65_535, 2 * channels)
    head = struct.pack("<IHHIIHH", 16, 1, channels, sample_rate, min(2**32 - 1, sample_rate * block), block, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + head + b"data\xff\xff\xff\xff" + b"\1\2" * samples
