"""What the configs' data sources show."""

import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.sources import augmentation, clips, sounds
from videopoet_jax.data.media import write_video, write_wav


def test_the_pictures_of_the_image_stage_show_digits_everywhere_a_clip_does():
    """Clips start near a wall and end near the opposite one; pictures of all their frames lie in between too."""
    config = load_config("video_tokenizer:nano_image", ("data.size=200",))
    pictures = clips(config, "train")
    light = np.stack([pictures[i]["video"][0].max(-1) for i in range(200)]).astype(float)
    y, x = np.mgrid[:64, :64] - 31.5
    centres = np.stack([(light * axis).sum((1, 2)) / light.sum((1, 2)) for axis in (x, y)], -1)
    in_the_middle = np.mean(np.abs(centres).max(-1) < 6)
    assert 0.08 < in_the_middle < 0.25  # 15 % of the frames of clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One clip of 49 frames, left half dark, right half bright."""
    root = tmp_path_factory.mktemp("clips")
    frames = np.full((49, 96, 96, 3), 40, np.uint8)
    frames[:, :, 48:] = 200
    write_video(root / "a.mp4", frames, fps=8)
    return root


def test_clips_to_train_on_are_larger_and_views_of_them_are_the_models_size(folder):
    config = load_config("video_tokenizer:local", (f"data.root={folder}",))
    train, held_out = clips(config, "train"), clips(config, "held_out")
    assert train[0]["video"].shape == (17, 96, 96, 3) and held_out[0]["video"].shape == (17, 64, 64, 3)
    assert (len(train), len(held_out)) == (49 - 17 - 16, 1)
    augment = augmentation(config)
    views = [augment(train[0], np.random.default_rng(i))["video"] for i in range(40)]
    assert {v.shape for v in views} == {(17, 64, 64, 3)}
    mirrored = [v[0, :, 0].mean() > v[0, :, -1].mean() for v in views]
    assert 0 < sum(mirrored) < 40


def test_what_nano_and_captions_would_suffer_from_is_off(folder):
    assert augmentation(load_config("video_tokenizer:nano")) is None
    lm = augmentation(load_config("lm:local"))
    train = clips(load_config("lm:local", (f"data.root={folder}",)), "train")
    views = [lm(train[0], np.random.default_rng(i))["video"] for i in range(40)]
    assert not any(v[0, :, 0].mean() > v[0, :, -1].mean() for v in views)


def test_a_long_window_is_no_reason_to_have_nothing_held_out(folder):
    config = load_config("video_tokenizer:local", (f"data.root={folder}", "data.num_frames=25"))
    assert len(clips(config, "train")[0]["video"]) == 25
    assert clips(config, "held_out")[0]["video"].shape == (17, 64, 64, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.zoom=1", "data.views 8: at least 1, and more only where"),
        ("data.views=0", "data.views 0: at least 1"),
        ("data.zoom=0.5", "data.zoom 0.5: at least 1"),
    ],
)
def test_views_that_make_no_sense_are_refused(folder, change, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["data", "prepare", "--config", "lm:local", "--set", f"data.root={folder}", "--set", change, "--models",
              "nowhere", "--out", str(tmp_path / "records")])  # fmt: skip
    assert leave.value.code == 2 and words in capsys.readouterr().err


def test_a_config_without_a_key_says_which(folder):
    config = load_config("lm:local", (f"data.root={folder}",))
    with config.unlocked():
        del config.data.zoom
    with pytest.raises(ValueError, match="has no 'data.zoom', which this command reads; add it"):
        clips(config, "train")


def test_a_model_of_sound_reads_sound_files(tmp_path):
    wave = 0.5 * np.sin(np.arange(6 * 16_000) / 30).astype(np.float32)
    write_wav(tmp_path / "a.wav", wave, sample_rate=16_000)
    for name, lengths in (("local", (34_000, 8_000)), ("soundstream", (50_000, 34_000)), ("nano", (34_000, 8_000))):
        config = load_config(f"audio_tokenizer:{name}", ("data.source=folder", f"data.root={tmp_path}"))
        train, held_out = sounds(config, "train"), sounds(config, "held_out")
        assert (len(train[0]["audio"]), len(held_out[0]["audio"])) == lengths
        np.testing.assert_allclose(held_out[0]["audio"], wave[-34_000:][: lengths[1]], atol=1e-4)
        assert config.data.window == lengths[0] >= config.data.crop
    with pytest.raises(ValueError, match="data.window 34,000: at least data.crop, 90,000 samples"):
        sounds(load_config("audio_tokenizer:local", (f"data.root={tmp_path}", "data.crop=90_000")), "train")
    with pytest.raises(ValueError, match="data.root: empty; name the folder of your sounds"):
        sounds(load_config("audio_tokenizer:local"), "train")
    digits = load_config("audio_tokenizer:nano")
    np.testing.assert_array_equal(sounds(digits, "train")[2]["audio"], clips(digits, "train")[2]["audio"])
