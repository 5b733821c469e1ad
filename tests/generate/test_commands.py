"""The commands that make clips of media: masks as they are written, films that grow in their file, chains, mistakes."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.cli.generate_long import read_story
from videopoet_jax.cli.given import read_given, read_mask
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import probe, read_audio, read_image, read_video, write_image, write_video, write_wav
from videopoet_jax.data.moving_digits import render

TRUE = render("test", 1, 0, num_frames=17, height=64, width=64)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A clip with sound, one of three frames, a silent one, a picture, and a mask."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "clip.mp4", TRUE.frames, fps=8, audio=TRUE.audio, sample_rate=16_000)
    write_video(folder / "three.mp4", TRUE.frames[:3], fps=8)
    write_video(folder / "silent.mp4", TRUE.frames, fps=8)
    write_image(folder / "first.png", TRUE.frames[0])
    for name, frame in (("three.png", 0), ("last.png", -1)):
        write_image(folder / name, TRUE.frames[frame])
    (folder / "film.mp4").symlink_to(folder / "clip.mp4")
    write_wav(folder / "sound.wav", TRUE.audio, sample_rate=16_000)
    (folder / "story.txt").write_text("a red 3\nit turns\n")
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, :32] = 255
    write_image(folder / "left.png", half)
    write_video(folder / "left.mp4", np.stack([half] * 17), fps=8)
    write_image(folder / "wide.png", np.zeros((64, 96, 3), np.uint8))
    write_video(folder / "wide.mp4", np.zeros((17, 64, 96, 3), np.uint8), fps=8)
    return folder


@pytest.fixture(scope="module")
def model(vp, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "every_task"
    vp.save_pretrained(folder)
    return str(folder)


def readme_commands():
    """README's commands that make clips of media, as words."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = text.split("Media say which task is meant")[1].split("```sh")[1].split("```")[0].replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", readme_commands(), ids=lambda words: " ".join(words)[:60])
def test_readme_s_commands_run(command, model, media, tmp_path, monkeypatch):
    for path in media.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    words = [model if word == "MODEL" else word for word in command]
    words += [] if "--model" in words else ["--model", model]
    main(["3" if word == "10" else word for word in words])  # seconds
    made = [path for path in tmp_path.rglob("*.mp4") if path not in before]
    assert len(made) == (4 if command[0] == "chain" else 1)


def test_a_mask_is_a_region_slices_a_picture_or_a_video(media):
    size, left = (17, 64, 64), np.zeros((17, 64, 64), bool)
    left[:, :, :32] = True
    assert read_mask("central", media / "clip.mp4", size, 8.0) == "central"
    assert_array_equal(read_mask(":,:,0:32", media / "clip.mp4", size, 8.0), left)
    assert_array_equal(read_mask(str(media / "left.png"), media / "clip.mp4", size, 8.0), left[0])
    assert_array_equal(read_mask(str(media / "left.mp4"), media / "clip.mp4", size, 8.0), left)
    assert read_mask("9:, 16:48, :", media / "clip.mp4", size, 8.0).sum() == 8 * 32 * 64


@pytest.mark.parametrize(("text", "words"), [
    (":,:,32:80", "of a clip of .* more than there is"),
    (":,9:9,:", "nothing"),
    (":,:", "neither a region"),
    ("corner", "neither a region"),
    ("wide.png", "wide.png: 64×96, and --video 64×64; make it as large"),
    ("three.mp4", "3 frames, the clip has 17"),
])  # fmt: skip
def test_a_mask_that_is_none_is_told(media, monkeypatch, text, words):
    monkeypatch.chdir(media)
    with pytest.raises(ValueError, match=words):
        read_mask(text, media / "clip.mp4", (17, 64, 64), 8.0)


NONE = dict.fromkeys(("image", "last_image", "video", "audio", "mask", "structure"))


@pytest.mark.parametrize(("task", "count", "sound"), [
    (None, 5, False),
    ("frame_prediction_13", 13, False),
    ("video_continuation", 9, True),  # hears it
    ("stylization", 17, True),  # keeps it
    ("captioning", 17, True),
    ("video_to_audio", 17, False),  # writes its own
    ("frame_interpolation", 17, True),
    ("audio_to_video", 0, True),
])  # fmt: skip
def test_of_a_video_as_much_is_read_as_the_task_asks_for(vp, media, task, count, sound):
    given = read_given(vp.settings, task, NONE | {"video": media / "clip.mp4"})
    assert len(given.get("video", ())) == count and ("audio" in given) == sound


def test_media_are_read_in_the_size_of_the_clip_to_be_made(vp, media):
    pictures = NONE | {"image": media / "first.png", "last_image": media / "left.png"}
    assert read_given(vp.settings, None, pictures)["image"].shape == (2, 64, 64, 3)
    assert read_given(vp.settings, None, pictures, (None, 32, 96))["image"].shape == (2, 32, 96, 3)
    given = read_given(vp.settings, None, NONE | {"video": media / "clip.mp4", "mask": "central"}, (9, 32, None))
    assert given["video"].shape == (9, 32, 64, 3) and len(given["audio"]) == 18_000
    kept = read_given(vp.settings, "captioning", NONE | {"video": media / "wide.mp4"})
    assert kept["video"].shape == (17, 64, 96, 3)  # what is not written keeps its size


@pytest.mark.parametrize(("arguments", "words"), [
    (["--video", "three.mp4", "--mask", "central"], "3 frames at 8 a second, 17 are to be read; give a longer video."),
    (["--video", "three.mp4"], "5 are to be read; give a longer video or a smaller --prefix-frames."),
    (["--mask", "central"], "--mask: says what of a video"),
    (["a", "--task", "text_to_video", "--video", "clip.mp4", "--mask", "central"], "task text_to_video reads no video"),
    (["--last-image", "first.png"], "--last-image: needs the first one"),
    (["--image", "first.png", "--video", "clip.mp4"], "both were given"),
    (["--video", "clip.mp4", "--mask", "wide.png"], "wide.png: 64×96, and --video 64×64"),
    (["a blue 7", "--video", "clip.mp4"], "prompt: task frame_prediction_5 reads no text"),
    (["--video", "clip.mp4", "--mask", "central", "--prefix-frames", "5"], "--prefix-frames: "),
    (["a", "--seconds", "4", "--num-frames", "9"], "--num-frames 9: a film goes on from 9 frames"),
    (["a", "--seconds", "inf"], "--seconds inf: a number above 0"),
    (["a", "--seconds", "4", "--height", "32"], "--height: a film has the model's own size"),
    (["a", "--seconds", "4", "--task", "text_to_image"], "makes no clip with sound"),
    (["--video", "silent.mp4", "--task", "video_continuation"], "silent.mp4"),
    (["a", "--seconds", "-1"], "--seconds -1: a number above 0"),
    (["a", "--story", "story.txt"], "a prompt and --story"),
    (["--story", "broken.txt"], "broken.txt, line 2: empty"),
    (["a", "--seconds", "4", "--num-videos-per-prompt", "2"], "one film, without"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_left(model, media, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(media)
    (media / "broken.txt").write_text("a red 3\n\nit turns\n")
    with pytest.raises(SystemExit) as stop:
        main(["generate", *arguments, "--model", model, "--out-dir", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: ") and words in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_and_a_caption_are_written_and_told(model, media, tmp_path, capsys):
    main(["generate", "a red 3", "--model", model, "--task", "text_to_image", "--out-dir", str(tmp_path)])
    assert read_image(tmp_path / "a_red_3_0.png").shape == (64, 64, 3)
    main(["generate", "--model", model, "--task", "captioning", "--video", str(media / "clip.mp4"), "--out",
          str(tmp_path / "told.mp4"), "--json", str(tmp_path / "told.json")])  # fmt: skip
    (caption,) = json.loads((tmp_path / "told.json").read_text())["captions"]
    assert f"told.mp4: {caption}" in capsys.readouterr().out


def test_a_story_is_a_film_of_its_lines(vp, model, tmp_path):
    (tmp_path / "story.txt").write_text("a red 3\nit turns\n")
    main(["generate", "--story", str(tmp_path / "story.txt"), "--seconds", "3.5", "--model", model, "--out",
          str(tmp_path / "film.mp4"), "--json", str(tmp_path / "film.json")])  # fmt: skip
    assert read_story(tmp_path / "story.txt") == ["a red 3", "it turns"]
    found = json.loads((tmp_path / "film.json").read_text())
    assert found["frames"] == 17 + 2 * 8 and found["seconds"] == 33 / 8  # 3.5 s are 28 frames: 17, 8 and 8
    assert len(read_video(tmp_path / "film.mp4")) == 33
    assert len(read_audio(tmp_path / "film.mp4")) == pytest.approx(66_000, abs=2_000)  # AAC's frames


@pytest.mark.parametrize("name", ["clip.mp4", "silent.mp4"])
def test_a_film_is_gone_on_with_from_its_end(model, media, tmp_path, name):
    main(["generate", "it turns", "--video", str(media / name), "--seconds", "3", "--model", model, "--out",
          str(tmp_path / "film.mp4")])  # fmt: skip
    film, before = read_video(tmp_path / "film.mp4"), read_video(media / name)
    assert len(film) == 17 + 8
    assert np.abs(film[:17].astype(int) - before).mean() < 3  # as it was, but for a second compression


def test_a_clip_keeps_the_sound_that_its_task_does_not_write(model, media, tmp_path):
    main(["generate", "--video", str(media / "clip.mp4"), "--mask", "central", "--model", model, "--out",
          str(tmp_path / "filled.mp4")])  # fmt: skip
    main(["chain", "stylize: blue", "--video", str(media / "clip.mp4"), "--model", model, "--out-dir", str(tmp_path)])
    true = read_audio(media / "clip.mp4")
    for made in ("filled.mp4", "1_stylization.mp4"):
        sound = read_audio(tmp_path / made)
        count = min(len(sound), len(true))
        assert np.corrcoef(sound[:count], true[:count])[0, 1] > 0.95


def test_no_input_is_written_over(model, media, tmp_path, capsys):
    story = tmp_path / "story.txt"
    story.write_text("a red 3\n")
    for arguments in (["--story", str(story), "--json", str(story)],
                      ["--video", str(media / "clip.mp4"), "--mask", str(media / "left.png"), "--sheet",
                       str(media / "left.png")]):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["generate", *arguments, "--model", model, "--out", str(tmp_path / "x.mp4")])
        assert "is the input itself" in capsys.readouterr().err


def test_every_step_of_a_chain_is_kept(model, media, tmp_path):
    main(["chain", "image_to_video: a red 3 → outpaint(vertical) → video_to_audio", "--image",
          str(media / "first.png"), "--model", model, "--out-dir", str(tmp_path)])  # fmt: skip
    names = ["1_image_to_video.mp4", "2_outpainting.mp4", "3_video_to_audio.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(probe(tmp_path / name).frames == 17 for name in names)


def test_an_unknown_step_of_a_chain_is_one_line(model, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["chain", "image_to_video → dance", "--model", model, "--out-dir", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: task 'dance': unknown") and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
