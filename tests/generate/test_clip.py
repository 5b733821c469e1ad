"""A clip reaches its file with picture and sound."""

import numpy as np

from videopoet_jax.data.media import probe, read_audio, read_video
from videopoet_jax.data.moving_digits import SAMPLE_RATE, render
from videopoet_jax.generate.clip import Clip


def test_a_saved_clip_is_read_back(tmp_path):
    true = render("train", 1, 0)
    Clip(true.frames, 8.0, true.audio, SAMPLE_RATE).save(tmp_path / "x.mp4")
    frames, sound = read_video(tmp_path / "x.mp4"), read_audio(tmp_path / "x.mp4")
    assert frames.shape == true.frames.shape
    assert np.abs(frames.astype(int) - true.frames).mean() < 3
    assert np.corrcoef(sound[4000:30000], true.audio[4000:30000])[0, 1] > 0.95


def test_a_silent_clip_has_no_sound_track(tmp_path):
    Clip(render("train", 1, 0).frames, 8.0).save(tmp_path / "x.mp4")
    assert not probe(tmp_path / "x.mp4").has_audio


def test_a_notebook_shows_it(tmp_path):
    true = render("train", 1, 0, num_frames=5)
    page = Clip(true.frames, 8.0, true.audio, SAMPLE_RATE)._repr_html_()
    assert page.startswith("<video controls") and "base64," in page
