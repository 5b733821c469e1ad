"""The windows of films: those of `ClipFolder` bit for bit, stretches as the whole film has them, in constant memory."""

import itertools
import tracemalloc

import numpy as np
import pytest
from encoded import encode, moving_square, patched, tone

from videopoet_jax.data.items import Item, decode, items_of
from videopoet_jax.data.media import MediaError, read_audio, read_video, write_image, write_video, write_wav
from videopoet_jax.data.sources import ClipFolder

SIZE = dict(fps=8, height=32, width=32, sample_rate=16_000)


def stereo(seconds, sample_rate=44_100):
    """float32 [2 s]: a chirp, so that no two stretches are alike."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.stack([0.4 * np.sin(2 * np.pi * (200 + 60 * t) * t)] * 2).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    sound = ("aac", 44_100, "stereo", stereo(8))
    encode(root / "aac.mp4", moving_square(200), "libx264", sound=sound)
    late = np.concatenate([np.zeros((2, 44_100 * 5), np.float32), stereo(3)], axis=1)
    encode(root / "late.mkv", moving_square(200), "ffv1", sound=("flac", 44_100, "stereo", late))
    encode(root / "brief.mkv", moving_square(200), "ffv1", sound=("flac", 44_100, "stereo", stereo(1.3)))
    encode(root / "long.mkv", moving_square(150), "ffv1", sound=("flac", 44_100, "stereo", stereo(9)))
    encode(
        root / "silence.mp4", moving_square(200), "libx264", sound=("aac", 16_000, "mono", np.zeros((1, 99_999), "f4"))
    )
    times = np.cumsum(np.random.default_rng(0).integers(15, 90, 150)).tolist()
    encode(root / "uneven.mkv", moving_square(150), "ffv1", pix_fmt="yuv444p", times=times, fps=25)
    encode(root / "slow.avi", moving_square(40, 40, 90), "mpeg4", fps=5)
    write_video(root / "short.mp4", moving_square(12), fps=8)
    write_video(root / "exact.mp4", moving_square(17), fps=8, audio=tone(17 / 8), sample_rate=16_000)
    (root / "broken.mp4").write_bytes(b"no video" * 100)
    return root


@pytest.mark.parametrize("num_frames, stride", [(17, 1), (5, 3), (9, 12), (1, 1)])
def test_windows_are_those_of_a_clip_folder(folder, num_frames, stride):
    """The whole of a film, which a folder divides in two, so both of its splits are asked."""
    clips = ClipFolder(folder, num_frames=num_frames, split="train", stride=1, **SIZE)
    compared, named = 0, {item.path: item for item in items_of(folder)}
    wanted = {}
    for split in ("train", "held_out"):
        part = clips.with_split(split, stride=1)
        for index in range(len(part)):
            clip, first = part.locate(index)
            wanted[str(part.clips[clip].path), first] = part, index
    for path in {str(clip.path) for clip in clips.clips if len(clip.frames) >= num_frames}:
        for number, example in enumerate(decode(named[path], num_frames=num_frames, stride=stride, **SIZE)):
            assert str(example.pop("source")) == named[path].id
            begin = number * stride / 8
            assert str(example.pop("id")) == f"{named[path].id}@{begin:.3f}-{begin + num_frames / 8:.3f}"
            if (path, number * stride) in wanted:
                part, index = wanted[path, number * stride]
                same = part[index]
                assert example.keys() == same.keys()
                for name in same:
                    np.testing.assert_array_equal(example[name], same[name])
                    assert example[name].dtype == same[name].dtype
                compared += 1
    assert compared >= len(wanted) // stride * 0.8 and compared > 30


def test_every_window_of_a_film_is_given(folder):
    frames = read_video(folder / "aac.mp4", fps=8, height=32, width=32)
    for num_frames, stride in ((17, None), (17, 4), (3, 20)):
        got = list(decode(Item("a", str(folder / "aac.mp4")), num_frames=num_frames, stride=stride, **SIZE))
        starts = range(0, len(frames) - num_frames + 1, stride or num_frames)
        assert len(got) == len(starts) > 2
        for example, first in zip(got, starts, strict=True):
            np.testing.assert_array_equal(example["video"], frames[first : first + num_frames])


def test_whether_a_film_has_sound_holds_for_all_of_its_windows(folder):
    heard = {}
    for item in items_of(folder):
        if item.id not in ("short.mp4", "broken.mp4"):
            heard[item.id] = [bool(example["has_audio"]) for example in decode(item, num_frames=17, **SIZE)]
    assert {name for name, values in heard.items() if any(values)} == {
        "aac.mp4", "late.mkv", "brief.mkv", "long.mkv", "exact.mp4"
    }  # fmt: skip
    assert all(len(set(values)) == 1 for values in heard.values())
    late = [np.abs(e["audio"]).max() > 0.1 for e in decode(Item("", str(folder / "late.mkv")), num_frames=8, **SIZE)]
    assert late == [False] * 5 + [True] * 3  # sound begins with the sixth second


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """A minute whose frames tell their number in their brightness, key frames far apart, with sound."""
    path = tmp_path_factory.mktemp("minute") / "minute.mp4"
    video = np.random.default_rng(0).integers(0, 200, (60 * 25, 1, 1, 3)).astype(np.uint8)
    video = np.broadcast_to(video, (60 * 25, 32, 48, 3))
    return encode(path, video, "libx264", options={"g": "250"}, sound=("aac", 44_100, "stereo", stereo(60) * 0.5))


@pytest.mark.parametrize("start", [0.5, 3.875, 4.125, 20.0, 31.375, 47.25])
def test_a_stretch_is_what_the_whole_film_has_there(minute, start):
    frames = read_video(minute, fps=8, height=32, width=32)
    item = Item("m", str(minute), start, start + 5.0)
    windows = list(decode(item, num_frames=17, stride=1, **SIZE))
    assert len(windows) == 24
    assert str(windows[3]["id"]) == f"m@{start + 0.375:.3f}-{start + 2.5:.3f}" and windows[3]["source"] == "m"
    for number, example in enumerate(windows):
        first = round(start * 8) + number
        np.testing.assert_array_equal(example["video"], frames[first : first + 17])
    sound = read_audio(minute, sample_rate=16_000)[round(start * 16_000) + 7 * 2_000 :][:34_000]
    heard, slope = windows[7]["audio"], np.abs(np.diff(sound)).max()
    assert heard.shape == (34_000,) and np.abs(heard).max() > 0.1
    assert np.abs(heard - sound).max() < 0.55 * slope + 0.002  # in its place to half a sample


def test_a_start_between_frames_shows_the_newest_earlier_one(minute):
    stored = read_video(minute, height=32, width=32)
    for start in (10.01, 10.039, 33.3333):
        (example,) = decode(Item("m", str(minute), start, start + 1), num_frames=8, **SIZE)
        moments = start + np.arange(8) / 8
        np.testing.assert_array_equal(example["video"], stored[np.floor(moments * 25 + 1e-6).astype(int)])


def test_a_stretch_without_sound_in_a_film_with_some(folder):
    path = str(folder / "late.mkv")
    assert not any(e["has_audio"] for e in decode(Item("", path, 0.0, 4.5), num_frames=17, **SIZE))
    assert all(e["has_audio"] for e in decode(Item("", path, 4.5, None), num_frames=17, **SIZE))
    brief = list(decode(Item("", str(folder / "brief.mkv"), 1.0, None), num_frames=8, **SIZE))
    assert [np.abs(e["audio"][8_000:]).max() > 0 for e in brief] == [False] * 7
    assert np.abs(brief[0]["audio"][:4_000]).max() > 0.1


def test_too_short_is_said_and_so_is_what_cannot_be_read(folder, tmp_path):
    for item, words in [
        (Item("short.mp4", str(folder / "short.mp4")), r"short.mp4 at 8 frames a second\): 12 frames, a window has 17"),
        (Item("a@1-2", str(folder / "aac.mp4"), 1.0, 2.0), r"\(a@1-2 at 8 frames a second\): 8 frames"),
        (Item("a", str(folder / "aac.mp4"), 100.0, 200.0), "start earlier"),
        (Item("b", str(folder / "broken.mp4")), "not a video"),
        (Item("c", str(folder / "broken.mp4"), image=True), "not a picture"),
        (Item("d", "concat:a|b"), "only local files"),
    ]:
        with pytest.raises(MediaError, match=words):
            list(decode(item, num_frames=17, **SIZE))
    with pytest.raises(FileNotFoundError, match="no such file"):
        list(decode(Item("x", str(tmp_path / "x.mp4")), num_frames=17, **SIZE))
    with pytest.raises(MediaError, match="both must be at least 1"):
        decode(Item("x", "x"), num_frames=17, stride=0, **SIZE)
    write_wav(tmp_path / "a.wav", tone(3), sample_rate=16_000)
    with pytest.raises(MediaError, match="no picture"):
        list(decode(Item("a.wav", str(tmp_path / "a.wav")), num_frames=17, **SIZE))


def test_sound_that_cannot_be_decoded_is_none(folder, tmp_path):
    hidden = patched(folder / "aac.mp4", tmp_path / "a.mp4", [(b"mp4a", 0, 24, (2**32 - 1).to_bytes(4, "big"))])
    data = bytearray(hidden.read_bytes())
    place = data.index(b"esds")
    data[place : place + 4] = b"xxxx"
    hidden.write_bytes(data)
    got = list(decode(Item("a", str(hidden)), num_frames=17, **SIZE))
    same = ClipFolder(tmp_path, num_frames=17, split="train", **SIZE)[0]
    assert len(got) == 3 and not got[0]["has_audio"] and not same["has_audio"]
    np.testing.assert_array_equal(got[0]["audio"], same["audio"])
    np.testing.assert_array_equal(got[0]["video"], same["video"])


def test_a_picture_is_one_frame_without_sound(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    write_image(tmp_path / "a boat.png", picture)
    (item,) = items_of(tmp_path)
    (example,) = decode(item, num_frames=17, **SIZE)
    assert (example["id"], example["source"], example["caption"]) == ("a boat.png", "a boat.png", "a boat")
    assert example["video"].shape == (1, 32, 32, 3) and example["audio"].shape == (2_000,)
    assert not example["has_audio"] and not example["audio"].any()
    middle = picture[:, 10:50].mean((0, 1))
    np.testing.assert_allclose(example["video"].mean((0, 1, 2)), middle, atol=3)


def test_memory_does_not_grow_with_the_film(minute):
    """Ten seconds or sixty, one window at a time; by Python's own count, arrays included."""

    def peak(end):
        tracemalloc.start()
        for _ in decode(Item("m", str(minute), 0.0, end), num_frames=17, **{**SIZE, "height": 64, "width": 64}):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(5.0)
    assert peak(60.0) < 1.2 * peak(10.0)


def test_windows_come_while_the_film_is_decoded(minute, monkeypatch):
    from videopoet_jax.data import film_windows

    given, real = [], film_windows.iterate_frames
    monkeypatch.setattr(film_windows, "iterate_frames", lambda *a, **k: (given.append(1) or f for f in real(*a, **k)))
    assert len(list(itertools.islice(decode(Item("m", str(minute)), num_frames=17, **SIZE), 2))) == 2
    assert len(given) == 34


def test_timestamps_far_apart_make_no_windows_of_a_still(tmp_path):
    """Ten kilobytes that claim a day of film, or hours of slides that nobody could look at for so long."""
    day = encode(tmp_path / "day.mkv", moving_square(4), "libx264", times=[0, 40, 80, 86_000_000])
    with pytest.raises(MediaError, match=r"day.mkv: the frame at 0.08 s is followed by one at 86,000 s; one is shown"):
        list(decode(Item("day", str(day)), num_frames=17, **SIZE))
    slides = encode(tmp_path / "slides.mkv", moving_square(6), "libx264", times=[i * 500_000 for i in range(6)])
    starts = [float(e["id"].split("@")[1].split("-")[0]) for e in decode(Item("", str(slides)), num_frames=17, **SIZE)]
    assert len(starts) <= 6 * (10 * 8 // 17 + 2)  # ten seconds of each
    assert {round(start / 500) for start in starts} == {0, 1, 2, 3, 4}  # the last is shown for a moment
    assert len(list(decode(Item("", str(day), 0.0, 5.0), num_frames=8, **SIZE))) == 5  # a stretch ends before the gap
    assert len(list(decode(Item("", str(slides), 0.0, 20.0), num_frames=1, **SIZE))) == 80
