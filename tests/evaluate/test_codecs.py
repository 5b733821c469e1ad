"""x265, vvenc and VMAF as real processes on tiny clips; which bytes of a stream count."""

import importlib.util

import numpy as np
import pytest

from videopoet_jax.evaluate import codecs
from videopoet_jax.evaluate.codecs import CODECS, H265, H265_444, H266, code, picture_bytes, run_ffmpeg
from videopoet_jax.evaluate.quality import psnr_clip
from videopoet_jax.evaluate.vmaf import vmaf


@pytest.fixture(scope="module")
def clip():
    """Uint8 [9 64 64 3]: coloured waves that move."""
    t, y, x = np.meshgrid(np.arange(9), np.arange(64), np.arange(64), indexing="ij")
    waves = [np.sin((x + 2 * t) / 5), np.sin((y - t) / 7), np.cos((x + y + t) / 9)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_more_bits_give_a_better_copy_of_the_same_frames(codec, clip):
    low, high = (code(codec, clip, fps=8, quality=codec.qualities[i]) for i in (1, -4))
    assert low.frames.shape == high.frames.shape == clip.shape
    assert low.bits < high.bits / 2
    assert psnr_clip(clip, low.frames) + 6 < psnr_clip(clip, high.frames)
    assert all(0 < seconds < 60 for coded in (low, high) for seconds in (coded.encode_seconds, coded.decode_seconds))
    # What does not count is the same whatever the quality, but for a start code and a delimiter for each frame.
    assert 0 < low.file_bytes - low.bits // 8 == pytest.approx(high.file_bytes - high.bits // 8, abs=2 * len(clip))


def test_qualities_are_the_standards_coarsest_first():
    assert [codec.qualities[0] for codec in CODECS] == [51, 51, 63]
    assert all(list(codec.qualities) == sorted(codec.qualities, reverse=True) for codec in CODECS)


def test_colours_come_back_as_they_went(clip):
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), clip.shape)
    for codec in CODECS:
        back = code(codec, flat, fps=8, quality=codec.qualities[-1]).frames
        assert np.abs(back.astype(int) - flat).max() <= 2, codec.name
    # At almost no loss, 4:4:4 keeps what 4:2:0 halves.
    half, full = (psnr_clip(clip, code(c, clip, fps=8, quality=7).frames) for c in (H265, H265_444))
    assert full > half


def test_one_intra_picture_whatever_the_length(clip):
    """40 frames at 8 a second, the second half far from the first: still no second intra picture."""
    half = np.concatenate([clip[:, :32, :32], clip[:0:-1, :32, :32], clip[:3, :32, :32]])
    film = np.concatenate([half, 255 - half])
    kinds = {}
    for codec in (H265, H266):
        stream = run_ffmpeg(
            ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "32x32", "-r", "8", "-i", "-", "-pix_fmt", codec.pixels]
            + [*codec.options(codec.qualities[2]), "-f", codec.stream, "-"],
            film.tobytes(),
        ).output
        units = stream.split(b"\0\0\1")[1:]
        kinds[codec] = [u[0] >> 1 & 63 if codec is H265 else u[1] >> 3 for u in units]
    assert sum(16 <= kind <= 23 for kind in kinds[H265]) == 1  # random access pictures of H.265
    assert sum(7 <= kind <= 11 for kind in kinds[H266]) == 1  # and of H.266


def test_slices_and_filters_count_parameter_sets_and_start_codes_do_not():
    hevc = b"\0\0\0\1\x40\1SETS" + b"\0\0\0\1\x26\1abc" + b"\0\0\1\x02\1de\0" + b"\0\0\1\x4e\1MESSAGE"
    assert picture_bytes(hevc, "hevc") == 5 + 4
    vvc = b"\0\0\0\1\0\x79SETS" + b"\0\0\1\0\x39abc" + b"\0\0\1\0\x8ccurve" + b"\0\0\1\0\x99head" + b"\0\0\1\0\xa1D"
    assert picture_bytes(vvc, "vvc") == 5 + 7 + 6
    assert picture_bytes(b"", "hevc") == 0


def test_what_cannot_be_coded_is_said(clip, monkeypatch):
    with pytest.raises(ValueError, match="64×63 pixels: 4:2:0 halves both sides"):
        code(H265, clip[:, :, :63], fps=8, quality=51)
    with pytest.raises(RuntimeError, match="Unknown encoder 'libnothing'.*imageio-ffmpeg 0.8.1"):
        run_ffmpeg(["-f", "lavfi", "-i", "color=s=64x64:d=0.1", "-c:v", "libnothing", "-f", "null", "-"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"pip install 'videopoet_jax\[compression\]'"):
        codecs.ffmpeg()


def test_vmaf_falls_with_likeness(clip):
    grainy = (clip + np.random.default_rng(0).integers(-20, 21, clip.shape)).clip(0, 255).astype(np.uint8)
    blurred = (clip // 2 + np.roll(clip, 6, axis=2) // 2).astype(np.uint8)
    same, noisy, blurry = (vmaf(clip, copy, fps=8) for copy in (clip, grainy, blurred))
    assert same > 95 and same > noisy > blurry >= 0
    small = clip[:, :32, :48]
    assert vmaf(small, small, fps=8) > 90
    with pytest.raises(ValueError, match="a copy has its original's shape"):
        vmaf(clip, clip[:5], fps=8)
