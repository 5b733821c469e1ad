"""A folder of anyone's sounds as a source: what is read, what is left out, and what stays unheard."""

import logging
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from encoded import encode, tone

from videopoet_jax.audio.crops import make_crop
from videopoet_jax.data.clip_files import SOUND_SUFFIXES, SUFFIXES, find_sounds
from videopoet_jax.data.loader import make_loader
from videopoet_jax.data.media import MediaError, write_video, write_wav
from videopoet_jax.data.sound_folder import SoundFolder
from videopoet_jax.data.sources import ClipFolder, held_out_from

RATE = 8_000
SIZE = dict(shortest=4_000, longest=9_000, sample_rate=RATE, fps=8)  # half a second to nine frames of 1,000 samples


def ramp(seconds, low, high):
    """Sample i says where it is; no two files share a value."""
    return np.linspace(low, high, round(seconds * RATE), dtype=np.float32)


def save_sound(path, wave, codec, rate):
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), "fltp", "mono")
        chunk.sample_rate, chunk.pts, chunk.time_base = rate, 0, Fraction(1, rate)
        for packet in (*stream.encode(chunk), *stream.encode(None)):
            file.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    (root / "deep").mkdir()
    write_wav(root / "deep" / "a.wav", ramp(6, 0.02, 0.3), sample_rate=RATE)
    save_sound(root / "b.flac", ramp(4, 0.4, 0.6), "flac", RATE)
    save_sound(root / "c.mp3", tone(5, 440, 44_100), "libmp3lame", 44_100)
    picture = np.zeros((40, 32, 32, 3), np.uint8)
    stereo = np.stack([ramp(7, 0.7, 0.9)] * 2)
    encode(root / "film.mkv", picture, "ffv1", fps=8, sound=("flac", RATE, "stereo", stereo))
    write_video(root / "mute.mp4", picture, fps=8)
    write_video(root / "silent.mp4", picture, fps=8, audio=np.zeros(40_000, np.float32), sample_rate=RATE)
    write_wav(root / "silent.wav", np.zeros(6 * RATE, np.float32), sample_rate=RATE)
    write_wav(root / "short.wav", ramp(0.4, 0.1, 0.2), sample_rate=RATE)
    write_video(root / "short.mp4", picture[:20], fps=8, audio=ramp(2.5, 0.1, 0.2), sample_rate=RATE)
    (root / "broken.flac").write_bytes(b"no sound" * 100)
    (root / "notes.txt").write_text("no sound either")
    (root / ".hidden.wav").write_bytes((root / "deep" / "a.wav").read_bytes())
    return root


@pytest.fixture(scope="module")
def train(folder):
    return SoundFolder(folder, split="train", **SIZE)


def names(source):
    return [sound.path.name for sound in source.sounds]


def test_sounds_and_videos_with_sound_are_read(folder, train):
    assert names(train) == ["b.flac", "c.mp3", "a.wav", "film.mkv"]
    assert [round(sound.samples / RATE, 1) for sound in train.sounds][:3] == [4, 5, 6]
    assert {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"} | SUFFIXES == SOUND_SUFFIXES
    assert folder / "notes.txt" not in find_sounds(folder)


def test_what_cannot_be_used_is_left_out_with_a_line_each(folder, train, caplog):
    why = {path.name: reason for path, reason in train.skipped.items()}
    assert set(why) == {"mute.mp4", "silent.mp4", "silent.wav", "short.wav", "short.mp4", "broken.flac"}
    assert "no sound" in why["mute.mp4"] and "silent" in why["silent.mp4"] and "silent" in why["silent.wav"]
    assert (
        "2.5 s of sound; 2.7 s are needed to train on 0.5 s" in why["short.mp4"]
        and "0.4 s of sound; 0.5 s" in why["short.wav"]
    )
    with caplog.at_level(logging.WARNING):
        SoundFolder(folder, split="held_out", **SIZE)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6 and all(line.startswith("left out: ") and "\n" not in line for line in lines)


def test_a_film_of_the_length_that_is_asked_for_is_enough(tmp_path):
    def write(frames):  # 4 frames of 1/8 s to train on, 17 held out
        picture = np.zeros((frames, 32, 32, 3), np.uint8)
        sound = ("flac", RATE, "mono", ramp(frames / 8, 0.1, 0.2)[None])
        encode(tmp_path / "a.mkv", picture, "ffv1", fps=8, sound=sound)

    write(21)
    assert len(SoundFolder(tmp_path, split="train", **SIZE)) == 1
    write(20)
    with pytest.raises(MediaError, match="none of its 1 files can be trained on; the first: .* 2.7 s are needed"):
        SoundFolder(tmp_path, split="train", **SIZE)


def test_utterances_too_short_to_be_divided_are_held_out_whole(tmp_path):
    for number in range(21):
        write_wav(tmp_path / f"{number:02}.wav", ramp(1.5, 0.1 + number / 100, 0.11 + number / 100), sample_rate=RATE)
    train = SoundFolder(tmp_path, split="train", **SIZE)
    held_out, kept = train.with_split("held_out"), {"09.wav", "19.wav"}
    for source, wanted in ((train, set(names(train)) - kept), (held_out, kept)):
        assert {source.sounds[source.locate(i)[0]].path.name for i in range(len(source))} == wanted
    assert len(held_out) == 2 * 3  # windows of half a second


def test_windows_hold_the_samples_of_their_places(train):
    for number, low, high, seconds in ((2, 0.02, 0.3, 6), (0, 0.4, 0.6, 4)):
        wave = ramp(seconds, low, high)
        for source in (train, train.with_split("held_out")):
            for index in range(len(source)):
                which, first, stop = source.locate(index)
                if which == number:
                    np.testing.assert_allclose(source[index]["audio"], wave[first:stop], atol=1 / 32_767)
                    assert source[index]["audio"].dtype == np.float32
    with pytest.raises(IndexError):
        train[len(train)]


def test_every_sample_to_train_on_is_in_a_window_and_none_that_is_held_out(train):
    held_out = train.with_split("held_out")
    assert held_out.sounds is train.sounds
    for number, sound in enumerate(train.sounds):
        border = held_out_from(sound.samples // 1_000) * 1_000  # the videos' rule, eight frames a second
        heard, kept = np.zeros(sound.samples, int), np.zeros(sound.samples, int)
        for source, places in ((train, heard), (held_out, kept)):
            windows = [source.locate(index)[1:] for index in range(len(source)) if source.locate(index)[0] == number]
            assert windows == sorted(set(windows)) and windows
            for first, stop in windows:
                assert first >= 0 and stop <= sound.samples
                assert (4_000 <= stop - first <= 9_000) if source is train else stop - first == 4_000
                places[first:stop] += 1
        assert heard[:border].min() >= 1 and heard[border:].max() == 0
        assert kept[:border].max() == 0 and kept[border : border + 16_000].min() == kept.max() == 1


def test_the_sound_of_a_video_is_held_out_where_its_picture_is(tmp_path):
    """Seven seconds of sound under five of picture: what the picture's end holds out is not trained on."""
    picture = np.zeros((40, 32, 32, 3), np.uint8)
    write_video(tmp_path / "film.mp4", picture, fps=8, audio=ramp(7, 0.2, 0.9), sample_rate=RATE)
    clips = ClipFolder(tmp_path, num_frames=17, height=32, width=32, sample_rate=RATE, fps=8, split="train").clips
    (sound,) = SoundFolder(tmp_path, split="train", **SIZE).sounds
    assert sound.samples == 40_000 and sound.border == held_out_from(len(clips[0].frames)) * 1_000 == 23_000


def crops_of(source, **settings):
    crop = make_crop(samples=4_000, start_share=0.0, transient_share=0.0, peak_normalise=False, quietest=0.0)
    return make_loader(source, batch_size=4, seed=3, random_transform=crop, **settings)


def test_crops_lie_in_the_training_part(train):
    """A ramp's value tells the place; only `a.wav` is below 0.35, and its border is at 6 − 2.125 s."""
    border = ramp(6, 0.02, 0.3)[31_000]
    starts = []
    loader = crops_of(train, num_epochs=6)
    for _ in range(len(loader)):
        batch = next(loader)
        for number, wave in zip(batch["example"].tolist(), batch["audio"], strict=True):
            if train.locate(number)[0] == 2:
                assert wave.shape == (4_000,) and wave.max() <= border
                starts.append((wave[0] - 0.02) / 0.28 * 6)
    assert len(starts) > 100 and min(starts) < 0.3 and max(starts) > 3.875 - 0.5 - 0.3


def test_the_same_seed_gives_the_same_crops_in_two_epochs_and_after_a_stop(train):
    first, again = crops_of(train, num_epochs=2), crops_of(train, num_epochs=2)
    assert len(first) == 2 * len(train) // 4
    batches = [next(first) for _ in range(len(first))]
    for batch in batches:
        np.testing.assert_array_equal(batch["audio"], next(again)["audio"])
    numbers = np.concatenate([batch["example"] for batch in batches])
    assert sorted(numbers[: len(train)]) == list(range(len(train)))
    whole = len(train) // 4 * 4
    assert not np.array_equal(numbers[:whole], numbers[len(train) : len(train) + whole])
    stopped, resumed = crops_of(train, num_epochs=2), crops_of(train, num_epochs=2)
    for _ in range(5):
        next(stopped)
    resumed.set_state(stopped.get_state())
    np.testing.assert_array_equal(next(resumed)["audio"], batches[5]["audio"])


def test_the_cache_spills_to_a_file_without_a_difference(folder, train, tmp_path):
    spilled = SoundFolder(folder, split="train", cache_bytes=50_000, cache_dir=tmp_path, **SIZE)
    assert os.listdir(tmp_path) == [] and spilled.sounds == train.sounds  # the file is unlinked already
    for index in range(len(train)):
        np.testing.assert_array_equal(spilled[index]["audio"], train[index]["audio"])


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; give the folder that holds your sounds"):
        SoundFolder(tmp_path / "none", split="train", **SIZE)
    with pytest.raises(MediaError, match="no sounds in it"):
        SoundFolder(tmp_path, split="train", **SIZE)
    (tmp_path / "a.wav").write_bytes(b"x" * 99)
    with pytest.raises(MediaError, match="none of its 1 files can be trained on; the first: .*a.wav"):
        SoundFolder(tmp_path, split="train", **SIZE)
    write_wav(tmp_path / "b.wav", ramp(4, 0.1, 0.2), sample_rate=RATE)
    with pytest.raises(MediaError, match="splits are"):
        SoundFolder(tmp_path, split="test", **SIZE)
    with pytest.raises(MediaError, match="windows of 9 to 8 samples"):
        SoundFolder(tmp_path, split="train", **{**SIZE, "shortest": 9, "longest": 8})
