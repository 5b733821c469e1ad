"""A clip's annotations say what was put into it, and are the same in every process."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from skimage import data

from videopoet_jax.data import curation
from videopoet_jax.data.curation import Annotations, annotate, figures, register_annotator
from videopoet_jax.data.moving_digits import render


def moved(step, frames=9, side=192):
    """A photograph that moves left by so many pixels a frame."""
    return [data.astronaut()[100 : 100 + side, step * i : step * i + side] for i in range(frames)]


@pytest.fixture
def no_annotators(monkeypatch):
    monkeypatch.setattr(curation, "ANNOTATORS", {})


def test_motion_is_a_share_of_the_picture_and_the_same_at_every_size():
    for step in (2, 6):
        large = moved(step)
        assert annotate(large, fps=8).motion == pytest.approx(step / 192, rel=0.15)
        half = [frame[::2, ::2] for frame in large]
        assert annotate(half, fps=8).motion == pytest.approx(step / 192, rel=0.15)


def test_motion_of_a_panning_camera_is_that_of_the_world():
    clips = [render("train", 3, i, num_frames=9, height=96, width=96) for i in (0, 5, 8, 10, 11, 17)]
    ratios = [annotate(clip.frames, fps=8).motion / (np.hypot(*clip.truth.pan) / 96) for clip in clips]
    assert np.median(ratios) == pytest.approx(1, abs=0.2)  # two digits in front move otherwise


def test_what_stands_still_is_static_in_spite_of_noise():
    picture, rng = moved(0, 1)[0], np.random.default_rng(0)
    still = [np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    assert annotate(still, fps=8).static == 1
    assert annotate(still[:4] + moved(4, 5), fps=8).static == pytest.approx(3 / 8, abs=0.13)
    assert annotate(moved(4), fps=8).static == 0
    digits = annotate(render("train", 1, 0, height=128, width=128).frames, fps=8)
    assert digits.static == 0 and digits.black == 0


def test_light_black_and_duration():
    picture = moved(0, 1)[0]
    black = annotate([picture] * 3 + [picture * 0], fps=2)
    assert black.black == 0.25 and black.duration == 2 and black.frames == 4
    assert black.brightness == pytest.approx(0.75 * annotate([picture], fps=2).brightness, rel=1e-5)
    alone = annotate([picture], fps=8)
    assert (alone.motion, alone.static, alone.first_hash) == (0, 1, alone.middle_hash)


def test_sound_and_caption():
    clip = render("train", 1, 0)
    heard = annotate(clip.frames, fps=8, audio=np.split(clip.audio, 17), caption=" a red 3  moving left ")
    assert heard.has_audio and heard.silence < 0.1
    assert heard.loudness == pytest.approx(10 * np.log10(np.mean(np.square(clip.audio, dtype=float))), abs=1e-3)
    assert heard.caption and heard.caption_words == 5
    deaf = annotate(clip.frames, fps=8, caption="  ")
    assert (deaf.has_audio, deaf.loudness, deaf.silence, deaf.caption, deaf.caption_words) == (False, -120, 1, False, 0)
    assert annotate(clip.frames, fps=8, audio=[clip.audio * 0]).has_audio


def test_a_copy_repeats_and_another_clip_does_not():
    clips = {str(i): render("train", 2, i, height=128, width=128).frames for i in range(6)}
    clips["copy"] = clips["4"][:, ::2, ::2] // 4 * 3 + 20
    hashes = {name: annotate(frames, fps=8).middle_hash for name, frames in clips.items()}
    assert curation.duplicates(hashes, 6) == {**dict.fromkeys(clips), "copy": "4"}


def test_the_same_in_another_process(tmp_path):
    frames = render("train", 2, 1).frames
    np.save(tmp_path / "clip.npy", frames)
    code = (
        "import pickle, sys, numpy as np; from videopoet_jax.data.curation import annotate; "
        f"found = annotate(iter(np.load({str(tmp_path / 'clip.npy')!r})), fps=8); "
        "assert not {'tensorflow', 'apache_beam', 'seqio', 'flax', 'videopoet_jax.evaluate'} & set(sys.modules); "
        "sys.stdout.buffer.write(pickle.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
    here = annotate(iter(frames), fps=8)
    assert pickle.loads(done.stdout) == here
    assert pickle.loads(pickle.dumps(annotate)) is annotate and pickle.loads(pickle.dumps(here)) == here


def test_figures_are_numbers_by_name(no_annotators):
    register_annotator("brightest", brightest)
    found = annotate(moved(1, 30), fps=8)
    assert found.scores == {"brightest": float(np.stack(moved(1, 30)[::2]).max())}
    values = figures(found)
    assert set(values) == set(Annotations._fields) - {"first_hash", "middle_hash", "scores"} | {"brightest"}
    assert values["letterbox"] == found.letterbox.share == 0 and values["duplicate"] is False
    assert figures(found._replace(duplicate="x"))["duplicate"] is True


def brightest(video):
    assert video.shape == (15, 192, 192, 3) and video.dtype == np.uint8
    return video.max()


def test_names_of_annotators_are_ones_own(no_annotators):
    assert register_annotator("brightest", brightest) is register_annotator("brightest", brightest)
    with pytest.raises(ValueError, match="annotator 'brightest': another one has this name already"):
        register_annotator("brightest", np.max)
    with pytest.raises(ValueError, match="annotator 'motion': another one has this name already"):
        register_annotator("motion", brightest)
    with pytest.raises(ValueError, match="annotator 'My score': small letters, digits and underscores"):
        register_annotator("My score", brightest)


def test_a_users_own_score_is_an_entry_point(tmp_path):
    (tmp_path / "toy_scores.py").write_text(
        "from videopoet_jax.data.curation import register_annotator\n\n\n"
        "def beauty(video):\n    return video.mean()\n\n\n"
        "register_annotator('beauty', beauty)\n"
    )
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[videopoet_jax.annotators]\ntoy = toy_scores\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy as np; "
        "from videopoet_jax.data.curation import annotate; "
        "from videopoet_jax.data.curation_filter import verdict; "
        "found = annotate(np.full((2, 32, 32, 3), 7, np.uint8), fps=8); "
        "print(found.scores, *verdict(found, {'beauty': (8, None)}).reasons)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "{'beauty': 7.0} beauty below 8: 7\n", done.stderr


def test_a_clip_has_frames():
    with pytest.raises(ValueError, match="0 frames: a clip has at least one"):
        annotate([], fps=8)
