"""Frames and sound of files of many kinds: order, timing, size, colour, side up, and exactness of `retime`."""

from fractions import Fraction

import numpy as np
import pytest
from encoded import encode, moving_square, patched, tone

from videopoet_jax.data.media import (
    MediaError,
    fit,
    is_silent,
    iterate_audio,
    iterate_frames,
    probe,
    read_audio,
    read_video,
    write_wav,
)
from videopoet_jax.data.media_moments import retime

ONE, TICK = Fraction(1), Fraction(1, 1000)


def shown(times, **options):
    return list(retime([(Fraction(time), time) for time in times], **options))


def test_retime_on_literal_times():
    assert shown([0, 1, 2], fps=ONE * 2, last=ONE) == [0, 0, 1, 1, 2, 2]
    assert shown([0, 1, 2, 3], fps=ONE / 2, last=ONE) == [0, 2]
    assert shown([0, 1, 2, 3], fps=ONE, start=ONE, end=ONE * 3, last=ONE) == [1, 2]
    assert shown([2, 3], fps=ONE, last=ONE) == [2, 2, 2, 3]  # before the first one, the first one
    assert shown([0, 0, 1], fps=ONE, last=ONE) == [0, 1]
    assert shown([], fps=ONE) == []


@pytest.mark.parametrize("source, target", [(25, 8), (Fraction(30000, 1001), 8), (24, 25), (10, 60), (60, 7)])
def test_retime_is_the_nearest_earlier_frame_and_never_drifts(source, target):
    times = [i / Fraction(source) for i in range(3_000)]
    out = list(retime(enumerate_times(times), fps=Fraction(target), last=1 / Fraction(source)))
    assert len(out) == -(-len(times) * target // source)
    wanted = [int(Fraction(j, target) * source) for j in range(len(out))]
    assert out == wanted


def enumerate_times(times):
    return ((time, i) for i, time in enumerate(times))


def test_retime_forgives_rounded_timestamps():
    """Matroska keeps milliseconds: at 24 a second, frame 1 is at 42 and not at 41.667."""
    times = [Fraction(round(1000 * i / 24), 1000) for i in range(1_000)]
    out = list(retime(enumerate_times(times), fps=Fraction(24), last=Fraction(1, 24), tolerance=TICK / 2))
    assert out == list(range(1_000))


KINDS = [
    ("libx264", "a.mp4", "yuv420p", 3), ("mpeg4", "a.avi", "yuv420p", 6), ("mpeg2video", "a.mpg", "yuv420p", 6),
    ("libvpx-vp9", "a.webm", "yuv420p", 4), ("ffv1", "a.mkv", "yuv444p", 2), ("gif", "a.gif", "rgb8", 25),
    ("mjpeg", "a.mov", "yuvj420p", 6), ("libx264", "a.ts", "yuv420p", 3), ("libx265", "a.mp4", "yuv420p", 4),
]  # fmt: skip


@pytest.mark.parametrize("codec, name, pix_fmt, error", KINDS)
def test_every_codec_gives_the_frames_in_order(tmp_path, codec, name, pix_fmt, error):
    video = moving_square(20)
    path = encode(tmp_path / name, video, codec, pix_fmt=pix_fmt, options={"x265-params": "log-level=none"})
    got = read_video(path)
    assert got.shape == video.shape
    assert np.abs(got.astype(int) - video).mean() < error
    nearest = [np.abs(got.astype(int) - frame).mean((1, 2, 3)).argmin() for frame in video]
    assert nearest == list(range(20))
    eight = read_video(path, fps=8)
    np.testing.assert_array_equal(eight, got[[int(i * 25 / 8) for i in range(len(eight))]])
    info = probe(path)
    assert (info.height, info.width, info.has_audio) == (64, 96, False)
    assert info.fps == 25


def test_variable_frame_rate_follows_the_timestamps(tmp_path):
    times = [0, 100, 200, 1000, 1100, 2000]
    path = encode(tmp_path / "a.mkv", moving_square(6), "ffv1", pix_fmt="yuv444p", times=times, fps=10)
    stored = read_video(path)
    assert len(stored) == 6
    ten = read_video(path, fps=10, end=2)
    number = [int(np.searchsorted(times, 100 * i, side="right")) - 1 for i in range(20)]
    np.testing.assert_array_equal(ten, stored[number])


def test_odd_sizes_are_read_as_they_are(tmp_path):
    video = moving_square(4, 37, 51)
    path = encode(tmp_path / "a.mkv", video, "ffv1", pix_fmt="bgr0")
    np.testing.assert_array_equal(read_video(path), video)  # lossless RGB: exact


def test_start_end_and_seeking_agree_with_cutting(tmp_path):
    video = moving_square(200, 32, 48)
    for name, codec in (("a.mp4", "libx264"), ("a.mpg", "mpeg2video"), ("a.avi", "mpeg4")):
        path = encode(tmp_path / name, video, codec)
        whole = read_video(path)
        np.testing.assert_array_equal(read_video(path, start=6.2, end=7), whole[155:175])
        np.testing.assert_array_equal(read_video(path, start=Fraction(26, 5), fps=5, num_frames=3), whole[130:145:5])


def test_size_covers_and_cuts_the_middle():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 200
    assert (fit(image, 20, 20)[:, 2:-2] == 200).all()  # at the border the filter sees what is outside
    assert fit(image, 20, 20, 0.5).mean() == pytest.approx(100, abs=1)  # narrow pixels: the picture is square
    assert fit(image, 40, 80) is image
    constant = np.full((33, 57, 3), 77, np.uint8)
    assert (fit(constant, 9, 40) == 77).all()
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert fit(noise, 16, 16).std() < 5  # antialiased: noise averages out


def test_one_side_keeps_the_aspect(tmp_path):
    path = encode(tmp_path / "a.mkv", moving_square(2, 40, 80), "ffv1", pix_fmt="bgr0")
    assert read_video(path, height=20).shape == (2, 20, 40, 3)
    assert read_video(path, width=20).shape == (2, 10, 20, 3)
    assert read_video(path, height=24, width=24).shape == (2, 24, 24, 3)


@pytest.mark.parametrize("size", [(72, 128), (128, 74), (60, 100), (16, 640), (640, 16), (48, 48)])
def test_frames_come_to_a_size_as_pictures_do(tmp_path, size):
    y, x = np.mgrid[: size[0], : size[1]]
    waves = 127 + 100 * np.sin((y - size[0] / 2) / 4) * np.cos((x - size[1] / 2) / 4)  # the middle is the middle
    video = np.repeat(waves[None, :, :, None], 3, axis=-1).astype(np.uint8)
    got = read_video(encode(tmp_path / "a.mkv", video, "ffv1", pix_fmt="bgr0"), height=32, width=32)
    difference = got[0].astype(int) - fit(video[0], 32, 32)
    assert np.abs(difference).mean() < 4 and np.abs(difference[12:20, 12:20]).max() < 4  # edges are a quarter off


def test_pixels_become_square(tmp_path):
    path = encode(tmp_path / "a.mp4", moving_square(2), "libx264", aspect=2)
    assert (probe(path).height, probe(path).width) == (64, 192)
    assert read_video(path).shape == (2, 64, 192, 3)


def test_rotation_is_honoured(tmp_path):
    video = np.zeros((3, 32, 64, 3), np.uint8)
    video[:, :, :16] = 255  # white at the left
    plain = encode(tmp_path / "a.mp4", video, "libx264")
    one, zero, minus = 0x10000, 0, 0xFFFF0000
    matrix = b"".join(n.to_bytes(4, "big") for n in (zero, one, 0, minus, zero, 0))
    turned = patched(plain, tmp_path / "b.mp4", [(b"tkhd", 0, 40, matrix)])  # a telephone held upright
    assert (probe(turned).height, probe(turned).width) == (64, 32)
    got = read_video(turned)
    assert got.shape == (3, 64, 32, 3)
    assert got[:, :12].mean() > 240 and got[:, 20:].mean() < 15  # left has become the top: 90 degrees clockwise


def test_colours_of_a_tagged_and_an_untagged_matrix(tmp_path):
    video = np.full((3, 720, 64, 3), (200, 40, 90), np.uint8)
    path = encode(tmp_path / "a.mp4", video[:, :64], "libx264")
    np.testing.assert_allclose(read_video(path)[1].mean((0, 1)), (200, 40, 90), atol=3)


def test_sound_is_mixed_resampled_and_in_place(tmp_path):
    rate = 44_100
    stereo = np.stack([tone(2, 440, rate), -0.2 * tone(2, 440, rate)])
    path = encode(tmp_path / "a.mp4", moving_square(50), "libx264", sound=("aac", rate, "stereo", stereo))
    wave = read_audio(path)
    assert wave.shape == (32_000,) and wave.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(wave[4_000:20_000]))
    assert spectrum.argmax() == 440
    expected = 0.4 * tone(2)
    assert np.corrcoef(wave, expected)[0, 1] > 0.99
    assert np.abs(wave - expected)[2_000:-2_000].max() < 0.05
    piece = read_audio(path, start=0.5, end=1.25)
    assert piece.shape == (12_000,)
    np.testing.assert_allclose(piece, wave[8_000:20_000], atol=1e-3)


def test_sound_far_in_is_found_by_seeking(tmp_path):
    sweep = np.sin(np.cumsum(np.linspace(0.05, 0.6, 16_000 * 12))).astype(np.float32)[None]
    for name, codec in (("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mpg", "mp2")):
        path = encode(tmp_path / name, moving_square(300, 16, 16), "mpeg2video", sound=(codec, 16_000, "mono", sweep))
        whole = read_audio(path)
        assert abs(len(whole) - 192_000) < 4_000
        np.testing.assert_allclose(read_audio(path, start=9, end=10), whole[144_000:160_000], atol=0.02)
        assert len(np.concatenate(list(iterate_audio(path, start=9, end=10)))) == 16_000


def test_a_track_of_silence_is_told_from_sound(tmp_path):
    loud, quiet = np.zeros(48_000, np.float32), np.zeros(48_000, np.float32)
    loud[40_000:] = 1e-3
    for name, wave in (("loud", loud), ("quiet", quiet)):
        write_wav(tmp_path / f"{name}.wav", wave, sample_rate=16_000)
    assert is_silent(tmp_path / "quiet.wav") and not is_silent(tmp_path / "loud.wav")


def test_sound_that_begins_late_begins_with_silence(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream, heard = file.add_stream("ffv1", rate=10), file.add_stream("pcm_s16le", rate=16_000, layout="mono")
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        for t in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = t, Fraction(1, 10)
            file.mux(stream.encode(frame))
        for start in (8_000, 24_000):  # half a second of sound at 0.5 s and at 1.5 s
            chunk = av.AudioFrame.from_ndarray(np.full((1, 8_000), 16_384, np.int16), "s16", "mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = 16_000, start, Fraction(1, 16_000)
            file.mux(heard.encode(chunk))
        file.mux(stream.encode(None))
        file.mux(heard.encode(None))
    wave = read_audio(path)
    assert abs(len(wave) - 32_000) < 64
    loud = [np.abs(wave[8_000 * i + 200 : 8_000 * (i + 1) - 200]).mean() > 0.1 for i in range(4)]
    assert loud == [False, True, False, True]


def test_constant_memory_for_a_long_video(tmp_path):
    """`iterate_frames` hands frames over one at a time; what it holds does not grow."""
    import tracemalloc

    path = encode(tmp_path / "a.mp4", np.repeat(moving_square(10, 64, 64), 25, axis=0), "libx264")
    tracemalloc.start()
    frames = iterate_frames(path)
    for _ in range(20):
        next(frames)
    early = tracemalloc.get_traced_memory()[0]
    late = max(tracemalloc.get_traced_memory()[0] for _ in frames)
    tracemalloc.stop()
    assert late - early < 1_000_000  # 250 frames are 3 million bytes


@pytest.mark.parametrize(
    "options, words",
    [
        ({"fps": 0}, "frames a second"), ({"fps": 1e9}, "frames a second"), ({"start": -1}, "0 ≤ start"),
        ({"fps": float("nan")}, "nan frames a second"),
        ({"start": 2, "end": 1}, "start < end"), ({"height": 0}, "0×"), ({"height": 10**6, "width": 8}, "1000000×8"),
        ({"start": 100}, "no frame from 100"), ({"num_frames": 0}, "at least 1"),
    ],
)  # fmt: skip
def test_bad_arguments_have_clear_errors(tmp_path, options, words):
    path = encode(tmp_path / "a.mp4", moving_square(5), "libx264")
    with pytest.raises(MediaError, match=words):
        read_video(path, **options)
