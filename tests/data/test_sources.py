"""A folder of anyone's clips as a source: windows, splits that do not meet, captions, and what must not be opened."""

import json
import logging
import os

import numpy as np
import pytest
from encoded import encode, tone

from videopoet_jax.data.clip_files import find_clips, words
from videopoet_jax.data.media import MediaError, write_video
from videopoet_jax.data.sources import ClipFolder, MovingDigits, held_out_from

SIZE = dict(num_frames=17, fps=8, height=32, width=32, sample_rate=16_000)


def counted(frames, height=48, width=80):
    """Frame t is grey of 5 t."""
    return np.repeat(np.arange(frames, dtype=np.uint8) * 5, height * width * 3).reshape(frames, height, width, 3)


def numbers(video):
    return np.round(video.mean((1, 2, 3)) / 5).astype(int)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    (root / "deep").mkdir()
    wave = np.concatenate([np.full(2_000, t / 100, np.float32) for t in range(45)])  # frame t sounds t/100
    write_video(root / "red_square-runs.mp4", counted(45), fps=8, audio=wave, sample_rate=16_000)
    stereo = np.stack([tone(50 / 25, 440, 44_100)] * 2)
    encode(root / "deep" / "two.mkv", counted(50), "ffv1", sound=("flac", 44_100, "stereo", stereo))
    encode(root / "gif.gif", counted(40, 20, 30), "gif", fps=8, pix_fmt="rgb8")
    (root / "broken.mp4").write_bytes(b"no video" * 100)
    (root / ".hidden.mp4").write_bytes(b"no video")
    (root / "notes.txt").write_text("no video")
    write_video(root / "short.mp4", counted(10), fps=8)
    lines = [{"path": "deep/two.mkv", "caption": "二 squares"}, {"path": "gone.mp4", "caption": "not there"}]
    (root / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return root


@pytest.fixture(scope="module")
def train(folder):
    return ClipFolder(folder, split="train", **SIZE)


def test_held_out_is_the_last_17_frames_or_the_last_fifth():
    assert [held_out_from(frames) for frames in (0, 17, 18, 40, 85, 86, 200, 1001)] == [0, 0, 1, 23, 68, 68, 160, 800]


def test_every_window_of_every_clip(train):
    # at 8 a second: 45 frames, 40, 16 and 10; the windows end before the last 17 frames
    assert len(train) == (45 - 17 - 16) + (40 - 17 - 16)
    starts = [train.locate(i) for i in range(len(train))]
    assert starts == sorted(set(starts))
    for index, (clip, first) in enumerate(starts):
        if train.clips[clip].path.name == "red_square-runs.mp4":
            np.testing.assert_array_equal(numbers(train[index]["video"]), np.arange(first, first + 17))


def test_examples_have_fixed_shapes_and_are_the_same_each_time(train):
    for index in range(len(train)):
        first, again = train[index], train[index]
        assert (first["video"].shape, first["video"].dtype) == ((17, 32, 32, 3), np.uint8)
        assert (first["audio"].shape, first["audio"].dtype) == ((34_000,), np.float32)
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])
    with pytest.raises(IndexError):
        train[len(train)]


def test_sound_belongs_to_its_frames(train):
    index = next(i for i in range(len(train)) if train.locate(i)[1] == 5 and train[i]["has_audio"])
    level = train[index]["audio"].reshape(17, 2_000)[:, 500:1500].mean(1)
    np.testing.assert_allclose(level, np.arange(5, 22) / 100, atol=0.03)
    silent = next(train[i] for i in range(len(train)) if not train[i]["has_audio"])
    assert np.abs(silent["audio"]).max() == 0


def test_captions_come_from_the_file_or_the_name(train):
    assert {clip.path.name: clip.caption for clip in train.clips} == {
        "red_square-runs.mp4": "red square runs", "two.mkv": "二 squares", "gif.gif": "gif", "short.mp4": "short"
    }  # fmt: skip
    assert words("a/My__dog-7.final.mp4") == "My dog 7.final"


def test_splits_share_clips_and_no_frame(folder, train):
    held = train.with_split("held_out")
    assert held.clips is train.clips
    seen = {(c, f) for c, first in map(train.locate, range(len(train))) for f in range(first, first + 17)}
    kept = {(c, f) for c, first in map(held.locate, range(len(held))) for f in range(first, first + 17)}
    assert seen and kept and not seen & kept
    assert [held.locate(i)[1] for i in range(len(held))] == [23, 28]  # the very last window of each
    np.testing.assert_array_equal(ClipFolder(folder, split="held_out", **SIZE)[0]["video"], held[0]["video"])


def test_pictures_are_windows_of_one_frame(folder):
    pictures = ClipFolder(folder, split="train", **{**SIZE, "num_frames": 1})
    assert pictures[3]["video"].shape == (1, 32, 32, 3)
    assert pictures[3]["audio"].shape == (2_000,)
    apart = ClipFolder(folder, split="train", stride=4, **{**SIZE, "num_frames": 5})
    assert [apart.locate(i)[1] for i in range(3)] == [0, 4, 8]


def test_what_cannot_be_used_is_left_out_and_said(folder, train, caplog):
    assert {path.name for path in train.skipped} == {"broken.mp4", "gone.mp4", "short.mp4", "two.mkv"}
    assert {path.name for path in train.unreadable} == {"broken.mp4", "gone.mp4"}
    assert "longer clip" in train.skipped[folder / "short.mp4"]
    with caplog.at_level(logging.WARNING):
        ClipFolder(folder, split="train", **SIZE)
    assert "broken.mp4" in caplog.text and "gone.mp4" in caplog.text


def test_the_cache_spills_to_files_without_a_difference(folder, train, tmp_path):
    spilled = ClipFolder(folder, split="train", cache_bytes=100_000, cache_dir=tmp_path, **SIZE)
    assert any(isinstance(clip.frames.base, np.memmap) or isinstance(clip.frames, np.memmap) for clip in spilled.clips)
    assert not isinstance(train.clips[0].frames, np.memmap)
    assert os.listdir(tmp_path) == []  # unlinked already
    assert len(spilled) == len(train)
    for index in range(len(train)):
        for name, value in train[index].items():
            np.testing.assert_array_equal(spilled[index][name], value)
    with pytest.raises(ValueError):
        spilled.clips[0].frames[0] = 0


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ClipFolder(tmp_path / "none", split="train", **SIZE)
    with pytest.raises(MediaError, match="no videos"):
        ClipFolder(tmp_path, split="train", **SIZE)
    (tmp_path / "a.mp4").write_bytes(b"x" * 99)
    with pytest.raises(MediaError, match="none of its 1 videos"):
        ClipFolder(tmp_path, split="train", **SIZE)
    write_video(tmp_path / "b.mp4", counted(33), fps=8)
    with pytest.raises(MediaError, match="at least 4.2 s"):
        ClipFolder(tmp_path, split="train", **SIZE)
    assert len(ClipFolder(tmp_path, split="held_out", **SIZE)) == 1
    with pytest.raises(MediaError, match="splits are"):
        ClipFolder(tmp_path, split="test", **SIZE)


LEADING_OUT = ["../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "out/secret.mp4", "link.mp4", "", "a\\..\\b.mp4",
               "http://127.0.0.1/a.mp4", "concat:http://x", "a\0.mp4"]  # fmt: skip


@pytest.mark.parametrize("path", LEADING_OUT)
def test_captions_cannot_lead_out_of_the_folder(tmp_path, path, caplog):
    root = tmp_path / "root"
    root.mkdir()
    write_video(tmp_path / "secret.mp4", counted(3), fps=8)
    (root / "out").symlink_to(tmp_path)
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    assert _listed(root) == []  # links out of the folder are not followed by looking, either
    assert f"left out: {root / 'link.mp4'}: a link out of {root}" in caplog.text
    (root / "captions.jsonl").write_text(json.dumps({"path": path, "caption": "x"}))
    with pytest.raises(MediaError, match="leads out of"):
        find_clips(root)


def _listed(root):
    try:
        return find_clips(root)
    except MediaError as error:
        assert "no videos" in str(error)
        return []


@pytest.mark.parametrize("line", ["[]", "{", '{"path": "a.mp4"}', '{"path": 3, "caption": "x"}', "[" * 100_000])
def test_captions_must_be_json_lines(tmp_path, line):
    (tmp_path / "captions.jsonl").write_text('{"path": "a.mp4", "caption": "x"}\n' + line)
    with pytest.raises(MediaError, match="line 2"):
        find_clips(tmp_path)


def test_moving_digits_as_clips_and_as_pictures():
    clips = MovingDigits("train", levels=(1, 2), size=8, num_frames=9, height=32, width=32)
    assert len(clips) == 8
    for index in range(4):
        example = clips[index]
        assert example["video"].shape == (9, 32, 32, 3) and example["audio"].shape == (18_000,)
    assert not np.array_equal(clips[0]["video"], clips[2]["video"])
    np.testing.assert_array_equal(clips[3]["video"], clips[3]["video"])
    assert clips[1]["caption"] != clips[3]["caption"]
    pictures = MovingDigits("train", levels=(1, 2), size=8, num_frames=9, height=32, width=32, pictures=True)
    for index in range(8):
        picture = pictures[index]
        assert picture["video"].shape == (1, 32, 32, 3)
        assert picture["caption"] == clips[index]["caption"]
        assert any(np.array_equal(picture["video"][0], frame) for frame in clips[index]["video"])
    with pytest.raises(IndexError):
        clips[8]


def test_a_loader_batches_them(train):
    from videopoet_jax.data.loader import make_loader

    batch = next(make_loader(train, batch_size=4, seed=0))
    assert batch["video"].shape == (4, 17, 32, 32, 3) and batch["caption"].shape == (4,)
