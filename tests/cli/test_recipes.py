"""What a config says to a model's recipe."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.recipes_of_language import layouts_for, layouts_of, rows_of
from videopoet_jax.cli.train import Run
from videopoet_jax.data.media import read_image
from videopoet_jax.data.token_records import TokenSource, TokenWriter
from videopoet_jax.pretrained import resolve
from videopoet_jax.sequence import TASKS, get_task


@pytest.mark.parametrize(("order", "runs"), [("levels", [(0, 1), (1, 1)]), ("frames", [(0, 2)])])
def test_a_config_names_the_order_of_sound(order, runs):
    config = load_config("lm:nano", ("model.audio_levels=2", "data.audio_levels=2", f"data.audio_order={order}"))
    layouts = layouts_of(config)
    layout = layouts.layout(get_task("unconditional"), layouts.grid(17, 64, 64))
    assert [(s.level, s.levels) for s in layout.segments if s.kind == "audio"] == runs


@pytest.mark.parametrize("size", ["300m", "1b", "8b"])
def test_a_step_of_the_papers_sizes_has_as_many_tokens_whatever_its_task(size):
    """1,024 rows of text to video of 17 frames 128×128 with sound, as in the paper's ablation."""
    config = load_config(f"lm:{size}")
    layouts, devices = layouts_of(config), jax.device_count()
    video = layouts.layout(get_task("text_to_video"), layouts.grid(17, 128, 128)).length
    assert (video, rows_of(config, video)) == (1_779, 1_024)
    for task in TASKS.values():
        for frames, height, width in ((17, 128, 128), (41, 224, 128)):
            length = layouts.layout(task, layouts.grid(frames, height, width)).length
            rows = rows_of(config, length)
            assert rows % devices == 0 and config.data.tokens - devices * length < rows * length <= config.data.tokens


def test_a_step_of_a_small_model_has_as_many_rows_whatever_its_task():
    for size, rows in (("nano", 32), ("local", 8)):
        assert {rows_of(load_config(f"lm:{size}"), length) for length in (90, 430)} == {rows}


@pytest.mark.parametrize(("change", "words"), [("data.num_frames=16", "16: .* --set data.num_frames=17"),
                                               ("data.width=60", "width 60: needs a multiple of 16")])  # fmt: skip
def test_clips_that_a_tokenizer_does_not_take_are_refused_before_training(change, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        recipe_for(load_config("video_tokenizer:nano", (change,)), tmp_path)


def test_an_adversary_that_would_never_play_is_refused(tmp_path):
    changes = ("adversary.weight=0.1", "adversary.width=8", "adversary.start=50", "train.steps=50", "data.size=16")
    config = load_config("video_tokenizer:nano", changes)
    with pytest.raises(ValueError, match="adversary.start 50: the 50 steps end before it; .*adversary.start=12"):
        Run(config, recipe_for(config, tmp_path), None).begin()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.levels=4"], "model.levels 4: the weights of nano have 2 and fit no other; --set model.levels=2, or"),
        (["model.codebook_size=512"], "model.codebook_size 512: .* have 1024 .* --set model.codebook_size=1024"),
        (["model.channels=4"], "model.channels 4: .* have 8 .* --set model.channels=8, or train without --init"),
        (["model.strides=(8,5,4,2)"], "model.strides .*: .* --set 'model.strides=\\(2,4,5,8\\)'"),
        (["model.dilations=(1,2,4)"], "model.dilations .*: .* --set 'model.dilations=\\(1,3,9\\)'"),
        (["model.denoise=True", "model.levels=1"], "model.levels 1: "),
    ],
)
def test_sound_starts_only_from_weights_of_its_sizes(changes, words, tmp_path):
    recipe = recipe_for(load_config("audio_tokenizer:nano", ("data.size=16", *changes)), tmp_path)
    with pytest.raises(ValueError, match=words):
        recipe.start("nano")


def test_a_model_that_shall_learn_to_denoise_starts_as_one_that_cannot(tmp_path):
    recipe = recipe_for(load_config("audio_tokenizer:nano", ("data.size=16", "model.denoise=True")), tmp_path)
    params, extra = recipe.start("nano")
    wanted = nn.meta.unbox(jax.eval_shape(recipe.init, jax.random.key(0)))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, wanted)
    assert np.all(params["film"]["gamma"] == 1) and not np.any(params["film"]["beta"])
    assert extra["codebooks"]["embedding"].shape == (2, 1024, 32)
    recipe.trained(params, extra).save_pretrained(tmp_path / "able")
    plain = recipe_for(load_config("audio_tokenizer:nano", ("data.size=16",)), tmp_path)
    with pytest.raises(ValueError, match="model.denoise False: the weights .* have True .* --set model.denoise=True"):
        plain.start(str(tmp_path / "able"))
    assert "film" in recipe.start(str(tmp_path / "able"))[0] and "film" not in plain.start("nano")[0]


def test_the_preview_of_sound_draws_what_the_model_gives(tmp_path):
    """Eight held-out sounds as four columns; the truth is drawn the same, the copy as it is."""
    recipe = recipe_for(load_config("audio_tokenizer:nano", ("data.size=16", "data.num_frames=9")), tmp_path)
    params, extra = recipe.start("nano")
    figures = recipe.preview(params, extra, tmp_path, 7)
    assert figures["si_sdr"] > 0
    louder = {**params, "decoder": jax.tree.map(lambda leaf: 1.5 * leaf, params["decoder"])}
    recipe.preview(louder, extra, tmp_path, 8)
    good, bad = (read_image(tmp_path / f"0000000{step}.png").astype(int) for step in (7, 8))
    assert good.shape == bad.shape and good.shape[1] == 4 * 320 + 5 * 6 and 4 * 160 < good.shape[0] < 5 * 180
    rows = [np.abs(good - bad)[top : top + 100].mean() for top in np.arange(4) * good.shape[0] // 4 + 60]
    assert rows[0] == rows[2] == 0 and min(rows[1], rows[3]) > 1


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        ("local", ["model.sample_rate=24_000"], "model.sample_rate 24,000: the sounds to train on have 16,000 Hz, and "
         "both must be one; --set model.sample_rate=16000, or --set data.sample_rate=24000"),
        ("local", ["data.sample_rate=24_000"], "model.sample_rate 16,000: the sounds to train on have 24,000 Hz"),
        ("nano", ["data.sample_rate=24_000", "model.sample_rate=24_000"],
         "data.sample_rate 24,000: moving_digits sounds at 16,000 Hz; keep that, or choose a folder"),
        ("local", ["data.crop=8_001"], "data.crop 8,001: a multiple of the 320 samples .*; --set data.crop=8000"),
        ("nano", ["data.crop=300"], "data.crop 300: .*; --set data.crop=320"),
        ("nano", ["data.crop=0"], "data.crop 0: .*; --set data.crop=320"),
    ],
)  # fmt: skip
def test_sound_that_does_not_fit_the_model_is_refused_before_anything_is_loaded(config, changes, words, tmp_path):
    """`local` names no folder: that would be the next error."""
    with pytest.raises(ValueError, match=words):
        recipe_for(load_config(f"audio_tokenizer:{config}", tuple(changes)), tmp_path)


def made(directory, *changes):
    """A record as `lm:nano` with these changes would have it laid out."""
    layouts = layouts_of(load_config("lm:nano", changes)).to_dict()
    meta = {"models": str(resolve("nano")), "digests": {}, "keys": ["video"], "layouts": layouts}
    with TokenWriter(directory, meta) as writer:
        writer.write({"video": np.zeros((5, 4, 4), np.int32)})
    return directory


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return made(tmp_path_factory.mktemp("records") / "records", "model.text_pieces=1024")


@pytest.mark.parametrize(
    ("changes", "key", "values"),
    [
        (["data.spatial_stride=8"], "data.spatial_stride", (8, 16)),
        (["model.visual_codes=65536"], "model.visual_codes", (65536, 262144)),
        (["model.text_pieces=512"], "model.text_pieces", (512, 1024)),
        (["model.audio_levels=2", "data.audio_levels=2"], "data.audio_levels", (2, 1)),
        (["data.source=folder"], "data.source", ("folder", "moving_digits")),
        (["data.text_length=8"], "data.text_length", (8, 16)),
        (["data.text_length=32"], "data.text_length", (32, 16)),
    ],
)
def test_records_that_were_laid_out_otherwise_are_refused_with_the_key(records, changes, key, values):
    with pytest.raises(ValueError) as refusal:
        layouts_for(load_config("lm:nano", tuple(changes)), TokenSource(records))
    assert str(refusal.value) == (
        f"{key} {values[0]}: the records in {records} were made with {values[1]}; --set {key}={values[1]}, or make "
        "them anew with `videopoet data prepare`."
    )


def test_a_config_may_read_less_than_records_have_and_order_it_otherwise(records):
    source = TokenSource(records)
    for change in ("model.text_pieces=0", "data.audio_levels=0", "data.audio_order=frames", "data.text_buckets=(4,)"):
        config = load_config("lm:nano", (change,))
        assert layouts_for(config, source) == layouts_of(config)


def test_training_measuring_and_showing_refuse_them_alike(records, tmp_path, capsys):
    words = "data.spatial_stride 8: the records in .* were made with 16; --set data.spatial_stride=16"
    fine, eight = made(tmp_path / "eight", "data.spatial_stride=8"), "data.spatial_stride=8"
    settings = ('data.tasks={"unconditional": 1.0}', f"data.records={records}")
    with pytest.raises(ValueError, match=words):
        recipe_for(load_config("lm:nano", (*settings, eight)), tmp_path)
    with pytest.raises(ValueError, match="data.spatial_stride 16: the records in .*/eight were made with 8"):
        recipe_for(load_config("lm:nano", (*settings, f"data.held_out={fine}")), tmp_path)
    with pytest.raises(SystemExit):
        main(["data", "show", str(records), "--config", "lm:nano", "--set", eight, "--out-dir", str(tmp_path)])
    error = capsys.readouterr().err
    assert error.startswith("error: data.spatial_stride 8: the records in") and error.count("\n") == 1
