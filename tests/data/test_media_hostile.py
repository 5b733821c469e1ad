"""Files of a stranger who means harm, or of a bad disk: a clear error or what can be decoded, in bounded memory."""

import os
import resource
import struct

import numpy as np
import pytest
from encoded import encode, h264_claiming, moving_square, patched, tone, wav_claiming

from videopoet_jax.data.media import (
    MAX_PIXELS,
    MAX_SIDE,
    EmptyStream,
    MediaError,
    iterate_frames,
    probe,
    read_audio,
    read_image,
    read_video,
    write_video,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    write_video(path, noise, fps=8, audio=tone(5), sample_rate=16_000)
    return path


def refused(path, words=None, read=read_video):
    """Refused in one line that names the file, with less than 100 MB more of memory than at any time before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError, match=words) as caught:
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    message = str(caught.value)
    assert "\n" not in message and os.path.basename(path) in message


def written(path, data):
    path.write_bytes(data)
    return path


def test_what_is_no_video(tmp_path, good):
    refused(written(tmp_path / "empty.mp4", b""), "empty")
    refused(written(tmp_path / "text.mp4", b"hello\n" * 1000), "not a video")
    refused(written(tmp_path / "zeros.mp4", bytes(100_000)))
    refused(written(tmp_path / "noise.avi", np.random.default_rng(0).bytes(100_000)))
    refused(written(tmp_path / "short.mp4", good.read_bytes()[:40]))
    refused(str(tmp_path), "not a regular file")
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "not a regular file")  # and it does not wait for a writer
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_video(tmp_path / "none.mp4")


def test_a_film_without_frames_counts_no_damage(tmp_path):
    refused(written(tmp_path / "a.y4m", b"YUV4MPEG2 W16 H16 F25:1 Ip C420jpeg\n"), r"of video is empty; give another\b")


def test_only_local_files_are_opened(tmp_path, good):
    for address in (f"concat:{good}|{good}", "http://127.0.0.1:9/a.mp4", f"file://{good}", f"subfile:,,start,0:{good}"):
        with pytest.raises(MediaError, match="only local files"):
            read_video(address)
    (tmp_path / "link.mp4").symlink_to(good)
    assert len(read_video(tmp_path / "link.mp4")) == 40  # a link that the user names is the user's business


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
    "b.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{0}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_does_not_open_other_files(tmp_path, good, name):
    refused(written(tmp_path / name, PLAYLISTS[name].format(good).encode()))


def test_headers_that_claim_enormous_frames(tmp_path, good):
    gif = b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\xf7\0\0" + bytes(768) + b","
    gif += struct.pack("<HHHH", 0, 0, 65_535, 65_535) + b"\0\x08\x02\x00\x01\x00;"
    refused(written(tmp_path / "a.gif", gif))
    y4m = b"YUV4MPEG2 W65535 H65535 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000)
    refused(written(tmp_path / "a.y4m", y4m))
    refused(written(tmp_path / "a.h264", h264_claiming(16_000, 16_000)), "16000×16000")
    refused(written(tmp_path / "b.h264", h264_claiming(6_144, 6_144)), "6144×6144")
    assert MAX_PIXELS < 6_144**2 and MAX_SIDE > 16_000
    size = struct.pack(">HH", 65_535, 65_535)
    hidden = patched(good, tmp_path / "a.mp4", [(b"avc1", 1, 24, size), (b"avcC", 0, -4, b"xxxx")])
    refused(hidden)
    mpeg4 = encode(tmp_path / "b.mp4", moving_square(3), "mjpeg", pix_fmt="yuvj420p")
    lying = patched(mpeg4, tmp_path / "c.mp4", [(b"mp4v", 0, 24, size)])
    assert read_video(lying).shape == (3, 64, 96, 3)  # the pictures inside know better than the box around them


def test_headers_that_claim_millions_of_frames(tmp_path, good):
    for count in (80_000_000, 2**31 - 1):
        edits = [(b"stsz", 0, 4, struct.pack(">II", 1, count)), (b"stsc", 0, 12, struct.pack(">I", count))]
        refused(patched(good, tmp_path / "a.mp4", [*edits, (b"stts", 0, 8, struct.pack(">II", count, 1))]), "samples")
    claimed = patched(good, tmp_path / "b.mp4", [(b"stts", 0, 8, struct.pack(">I", 2**31 - 1))])
    assert len(read_video(claimed)) == 40
    with pytest.raises(MediaError, match="bytes are read at once"):
        read_video(good, max_bytes=64 * 64 * 3 * 39)
    assert len(read_video(good, max_bytes=64 * 64 * 3 * 40)) == 40


def test_absurd_clocks(tmp_path, good):
    fast = patched(good, tmp_path / "a.mp4", [(b"stts", 0, 12, struct.pack(">I", 1))])
    assert len(list(iterate_frames(fast))) == 40
    slow = patched(good, tmp_path / "b.mp4", [(b"stts", 0, 12, struct.pack(">I", 2**31 - 1))])
    assert len(list(iterate_frames(slow, fps=8, end=10))) <= 80
    scale = patched(good, tmp_path / "c.mp4", [(b"mdhd", 0, 12, struct.pack(">II", 1, 2**31 - 1))])
    assert probe(scale).fps > 0
    y4m = b"YUV4MPEG2 W16 H16 F2147483647:1 Ip C420jpeg\n" + (b"FRAME\n" + bytes(384)) * 9
    assert len(read_video(written(tmp_path / "a.y4m", y4m), num_frames=9)) == 9
    late = encode(tmp_path / "a.mkv", moving_square(2), "ffv1", pix_fmt="yuv444p", times=[0, 90_000_000], fps=10)
    refused(late, "at most|up to")


def test_bombs_of_sound(tmp_path):
    for rate, channels in ((2**31 - 1, 1), (1, 1), (16_000, 65_535), (0, 1), (16_000, 0)):
        refused(written(tmp_path / "a.wav", wav_claiming(rate, channels)), read=read_audio)
    claims = written(tmp_path / "b.wav", wav_claiming(16_000, 1))
    assert len(read_audio(claims)) == 2_000  # the header says four gigabytes
    silence = np.zeros((1, 16_000 * 600), np.float32)
    path = encode(tmp_path / "a.mkv", moving_square(2), "ffv1", sound=("flac", 16_000, "mono", silence))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(MediaError, match="bytes of sound"):
        read_audio(path, max_bytes=1_000_000)
    with pytest.raises(MediaError, match="no sound"):
        read_audio(encode(tmp_path / "b.mkv", moving_square(2), "ffv1"))


@pytest.mark.parametrize(("name", "behind", "more"), [("a.mp4", b"mdat", 30), ("a.mkv", b"\x1f\x43\xb6\x75", 12)])
def test_sound_that_is_missing_is_damage_and_no_empty_stream(name, behind, more, tmp_path, good):
    """Cut off where the first packets begin, behind a header that claims sound."""
    film = good
    if name.endswith("mkv"):
        film = encode(tmp_path / "whole.mkv", moving_square(9), "ffv1", sound=("flac", 16_000, "mono", tone(1)[None]))
    data = film.read_bytes()
    cut = written(tmp_path / name, data[: data.index(behind) + more])
    with pytest.raises(MediaError, match="nothing could be decoded") as caught:
        read_audio(cut)
    assert not isinstance(caught.value, EmptyStream)


def test_a_file_cut_off_gives_what_is_there(tmp_path, good, caplog):
    data = good.read_bytes()
    whole = read_video(good)
    cut = written(tmp_path / "a.mp4", data[: len(data) * 2 // 3])
    got = read_video(cut)
    assert 10 < len(got) < 40
    np.testing.assert_array_equal(got[:10], whole[:10])
    assert "damaged" in caplog.text


@pytest.mark.parametrize("codec, name", [("libx264", "a.mp4"), ("mpeg4", "a.avi"), ("mpeg2video", "a.mpg")])
def test_flipped_bytes_give_what_can_be_decoded(tmp_path, codec, name):
    """Frames before the damage are exact; whatever happens later is frames of the same size or a `MediaError`."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    path = encode(tmp_path / name, noise, codec, options={"g": "8", "bf": "0"})
    data, whole, rng = path.read_bytes(), read_video(path), np.random.default_rng(1)
    decoded = []
    for _ in range(12):
        damaged = bytearray(data)
        for place in rng.integers(len(data) // 2, len(data) * 9 // 10, 40):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            got = read_video(written(tmp_path / f"damaged{name}", bytes(damaged)))
        except MediaError:
            continue
        decoded.append(len(got))
        assert got.shape[1:] == whole.shape[1:]
        np.testing.assert_array_equal(got[:8], whole[:8])
    assert len(decoded) >= 10 and min(decoded) >= 8


def test_a_stream_that_changes_its_size(tmp_path):
    """All frames get the size of the first; so do those of a window that begins later."""
    small = encode(tmp_path / "a.h264", moving_square(10, 64, 96), "libx264").read_bytes()
    large = encode(tmp_path / "b.h264", moving_square(10, 128, 64), "libx264").read_bytes()
    both = written(tmp_path / "c.h264", small + large)
    frames = list(iterate_frames(both))
    assert len(frames) == 20 and {frame.shape for frame in frames} == {(64, 96, 3)}
    assert read_video(both, start=0.6).shape[1:] in ((64, 96, 3), (128, 64, 3))
    assert read_video(both, height=32, width=32).shape == (20, 32, 32, 3)


def test_pictures(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 65_535, 65_535)
    refused(written(tmp_path / "b.png", bytes(data)), read=read_image)
    refused(written(tmp_path / "c.png", bytes(data[:40])), read=read_image)
    refused(written(tmp_path / "d.png", b""), read=read_image)
    refused(written(tmp_path / "e.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), read=read_image)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM"])
def test_flipped_bytes_in_pictures(tmp_path, kind, recwarn):
    from PIL import Image

    Image.fromarray(moving_square(1)[0]).save(tmp_path / "a", format=kind)
    data, rng = (tmp_path / "a").read_bytes(), np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400 if number % 2 else len(data)), 6):
            damaged[place] = int(rng.integers(256))
        path = written(tmp_path / "b", bytes(damaged))
        try:
            image = read_image(path)
        except MediaError:
            continue
        assert image.ndim == 3 and image.size <= 3 * MAX_PIXELS
    assert not recwarn


def test_libav_says_nothing(tmp_path, good, capfd):
    data = bytearray(good.read_bytes())
    for place in range(len(data) // 2, len(data), 500):
        data[place] ^= 0x55
    list(iterate_frames(written(tmp_path / "a.mp4", bytes(data))))
    assert capfd.readouterr() == ("", "")
