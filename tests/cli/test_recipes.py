"""What a config says to a model's recipe."""

import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.recipes_of_language import layout_of
from videopoet_jax.cli.train import Run
from videopoet_jax.sequence import get_task


@pytest.mark.parametrize(("order", "runs"), [("levels", [(0, 1), (1, 1)]), ("frames", [(0, 2)])])
def test_a_config_names_the_order_of_sound(order, runs):
    config = load_config("lm:nano", ("model.audio_levels=2", "data.audio_levels=2", f"data.audio_order={order}"))
    layout = layout_of(config, get_task("unconditional"))
    assert [(s.level, s.levels) for s in layout.segments if s.kind == "audio"] == runs


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
