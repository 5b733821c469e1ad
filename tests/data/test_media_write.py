"""What is written can be read back; a file appears whole or not at all."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from encoded import moving_square, tone

from videopoet_jax.data.media import (
    MediaError,
    VideoWriter,
    probe,
    read_audio,
    read_image,
    read_video,
    write_image,
    write_video,
    write_wav,
)


def test_picture_and_sound_come_back(tmp_path):
    video, wave = moving_square(17, 64, 64), tone(17 / 8)
    write_video(tmp_path / "a.mp4", video, fps=8, audio=wave, sample_rate=16_000)
    info = probe(tmp_path / "a.mp4")
    assert (info.codec, info.audio_codec, info.fps, info.frames) == ("h264", "aac", 8, 17)
    got = read_video(tmp_path / "a.mp4")
    assert got.shape == video.shape and np.abs(got.astype(int) - video).mean() < 2
    heard = read_audio(tmp_path / "a.mp4")
    assert heard.shape == wave.shape  # the encoder's padding is taken off again
    assert np.abs(heard - wave)[4_000:-1_000].max() < 0.01  # AAC takes a moment to settle
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_players_can_start_at_once(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(5), fps=8)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert oct((tmp_path / "a.mp4").stat().st_mode & 0o777) in (oct(0o644), oct(0o666 & ~_umask()))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("height, width", [(37, 51), (1, 1), (2, 2), (64, 33), (17, 16)])
def test_odd_sizes_grow_by_a_repeated_line(tmp_path, height, width):
    video = np.repeat(np.arange(4, dtype=np.uint8)[:, None, None, None] * 60, height, axis=1)
    video = np.ascontiguousarray(np.broadcast_to(video, (4, height, width, 3)))
    write_video(tmp_path / "a.mp4", video, fps=8)
    got = read_video(tmp_path / "a.mp4")
    assert got.shape == (4, height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(got.mean((1, 2, 3)), video.mean((1, 2, 3)), atol=3)


@pytest.mark.parametrize("fps", [8, 29.97, Fraction(30000, 1001), 0.5, 60])
def test_frame_rates_are_kept(tmp_path, fps):
    write_video(tmp_path / "a.mp4", moving_square(6), fps=fps)
    assert float(probe(tmp_path / "a.mp4").fps) == pytest.approx(float(fps), rel=1e-5)
    assert len(read_video(tmp_path / "a.mp4")) == 6


def test_an_iterator_of_frames_is_written_as_it_comes(tmp_path):
    asked = []

    def frames():
        for frame in moving_square(30):
            asked.append(1)
            yield frame

    with VideoWriter(tmp_path / "a.mp4", fps=8, sample_rate=16_000) as writer:
        for frame in frames():
            assert writer.frames_written == len(asked) - 1
            writer.write_audio(tone(1 / 8))
            writer.write(frame)
    assert len(read_video(tmp_path / "a.mp4")) == 30
    assert len(read_audio(tmp_path / "a.mp4")) == 30 * 2_000


def test_sound_may_be_missing_short_or_early(tmp_path):
    with VideoWriter(tmp_path / "none.mp4", fps=8, sample_rate=16_000) as writer:
        writer.write(moving_square(9))
    assert len(read_video(tmp_path / "none.mp4")) == 9
    write_video(tmp_path / "short.mp4", moving_square(16), fps=8, audio=tone(0.5), sample_rate=16_000)
    assert len(read_audio(tmp_path / "short.mp4")) == 8_000
    with VideoWriter(tmp_path / "early.mp4", fps=8, sample_rate=16_000) as writer:
        for _ in range(4):
            writer.write_audio(tone(0.25))
        writer.write(moving_square(8))
    assert len(read_audio(tmp_path / "early.mp4")) == 16_000
    write_video(tmp_path / "long.mp4", moving_square(8), fps=8, audio=tone(2), sample_rate=16_000)
    assert len(read_audio(tmp_path / "long.mp4")) == 32_000


def test_a_failure_in_the_middle_leaves_the_old_file_alone(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(5), fps=8)
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(RuntimeError, match="model"), VideoWriter(tmp_path / "a.mp4", fps=8) as writer:
        writer.write(moving_square(3))
        raise RuntimeError("the model failed")
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.mp4"]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from videopoet_jax.data.media import write_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
try:
    write_video(sys.argv[1], noise, fps=8)
except OSError as error:
    print("OSError", error)
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk."""
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")], capture_output=True, text=True)
    assert run.stdout.startswith("OSError") and run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert os.listdir(tmp_path) == []


BAD = [
    (dict(frames=np.zeros((3, 8, 8, 3), np.float32)), "uint8"),
    (dict(frames=np.zeros((3, 8, 8), np.uint8)), "uint8"),
    (dict(frames=[np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]), "one size"),
    (dict(frames=np.zeros((0, 8, 8, 3), np.uint8)), "no frame"),
    (dict(fps=0), "frames a second"),
    (dict(audio=tone(1)), "both or neither"),
    (dict(audio=tone(1), sample_rate=1), "AAC"),
    (dict(audio=np.full(9, np.nan, np.float32), sample_rate=16_000), "finite"),
    (dict(audio=np.zeros((2, 9), np.float32), sample_rate=16_000), "one channel"),
    (dict(path="a.gif"), "written as"),
]


@pytest.mark.parametrize("change, words", BAD)
def test_bad_arguments_have_clear_errors_and_leave_nothing(tmp_path, change, words):
    arguments = dict(path="a.mp4", frames=moving_square(2), fps=8) | change
    path, frames = tmp_path / arguments.pop("path"), arguments.pop("frames")
    with pytest.raises(MediaError, match=words):
        write_video(path, frames, **arguments)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        write_video(tmp_path / "file" / "a.mp4", moving_square(2), fps=8)
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(MediaError, match="directory"):
        write_video(tmp_path / "a.mp4", moving_square(2), fps=8)
    write_video(tmp_path / "new" / "it's %d, concat:x|y.mp4", moving_square(2), fps=8)  # a name is only a name
    assert len(read_video(tmp_path / "new" / "it's %d, concat:x|y.mp4")) == 2


def test_sound_is_clipped_not_wrapped(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([0.0, 0.5, 1.5, -2.0]), sample_rate=16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), [0, 0.5, 1, -1], atol=1e-4)
    write_wav(tmp_path / "b.wav", (tone(0.1) for _ in range(3)), sample_rate=16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "b.wav"), np.tile(tone(0.1), 3), atol=1e-4)


def test_pictures(tmp_path):
    image = moving_square(1, 20, 31)[0]
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    assert read_image(tmp_path / "a.png", height=8, width=8).shape == (8, 8, 3)
    write_image(tmp_path / "a.jpg", image)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).mean() < 12
    with pytest.raises(MediaError, match="written as"):
        write_image(tmp_path / "a.mp4", image)
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.png"]


def test_a_picture_is_upright_and_what_is_transparent_is_black(tmp_path):
    from PIL import Image

    image = Image.fromarray(moving_square(1, 20, 30)[0])
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").max() == 0
