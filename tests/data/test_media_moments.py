"""Frames that no moment shows are left out of the decoding, and what is shown stays the same, bit for bit."""

from fractions import Fraction

import av
import numpy as np
import pytest
from encoded import encode, moving_square

from videopoet_jax.data import media_frames
from videopoet_jax.data.media import read_video
from videopoet_jax.data.media_moments import Unshown


def asked(order, codec="h264", **options):
    """Those of the packets, 24 ticks a second, that are said to be unshown at 8."""
    options = dict(zero=Fraction(0), start=Fraction(0), fps=Fraction(8), tolerance=Fraction(0)) | options
    unshown, found = Unshown(codec, Fraction(1, 24), **options), []
    for pts in order:
        packet = av.Packet(1)
        packet.pts = pts
        found += [pts] if unshown(packet) else []
    return found


def test_on_literal_packets():
    assert asked([0, 2, 1, 4, 3, 6, 5]) == [1, 5]
    assert asked([0, 4, 2, 1, 3, 8, 6, 5, 7]) == [1, 5, 7]  # that 3 will stand between 2 and its moment, nobody knows
    assert asked([0, 1, 2, 3]) == []  # nor that there is a later one
    assert asked([0, None, 2, 1, None]) == [1]
    assert asked([3, 5, 4, 7, 6], zero=Fraction(3, 24)) == [4]
    assert asked([0, 2, 1, 4, 3, 6, 5], start=Fraction(6, 24)) == [1, 3, 5]
    assert asked([0, 2, 1, 4, 3, 6, 5], tolerance=Fraction(1, 24)) == [3, 5]
    assert asked([0, 2, 1, 4, 3, 6, 5], codec="hevc") == []


@pytest.fixture
def counted(monkeypatch):
    """How many frames were decoded."""
    count, timed = [], media_frames._timed
    monkeypatch.setattr(
        media_frames, "_timed", lambda frames, *rest: timed((count.append(1) or frame for frame in frames), *rest)
    )
    return count


@pytest.mark.parametrize("codec, name, fewer", [
    ("libx264", "a.mp4", True), ("libx264", "a.mkv", True), ("libx264", "a.ts", True), ("mpeg2video", "a.mpg", True),
    ("mpeg2video", "a.ts", True), ("mpeg4", "a.mp4", True), ("libx265", "a.mp4", False), ("libvpx", "a.webm", False),
])  # fmt: skip
def test_fewer_are_decoded_and_the_same_are_shown(tmp_path, codec, name, fewer, counted):
    video = moving_square(200, 48, 64)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {} if codec == "libvpx" else {"bf": "2"}
    path = encode(tmp_path / name, video, codec, options=options)
    stored = read_video(path)
    assert len(stored) == 200
    for fps, start in ((8, 0), (8, 1), (5, 0), (Fraction(25, 3), 0), (12.5, 6.2), (25, 0), (60, 7)):
        counted.clear()
        got = read_video(path, fps=fps, start=start)
        moments = Fraction(start) + np.arange(len(got)) / Fraction(fps).limit_denominator(1001)
        wanted = [min(199, int(moment * 25 + Fraction(1, 50))) for moment in moments]
        np.testing.assert_array_equal(got, stored[wanted])
        if start == 0:
            assert len(counted) < 170 if fewer and fps < 12 else len(counted) == 200


def test_frames_of_changing_rate(tmp_path, counted):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(1, 120, 150)) - 1
    path = encode(tmp_path / "a.mkv", moving_square(150, 48, 64), "libx264", times=times.tolist(), options={"bf": "3"})
    stored = read_video(path)
    counted.clear()
    got = read_video(path, fps=10, end=(times[-1] + 0.5) / 1000)
    moments = times[0] + np.arange(len(got)) * 100
    np.testing.assert_array_equal(got, stored[np.searchsorted(times, moments, side="right") - 1])
    assert len(counted) < 150
