"""What a config says to a model's recipe."""

import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.recipes_of_language import layout_of
from videopoet_jax.sequence import get_task


@pytest.mark.parametrize(("order", "runs"), [("levels", [(0, 1), (1, 1)]), ("frames", [(0, 2)])])
def test_a_config_names_the_order_of_sound(order, runs):
    config = load_config("lm:nano", ("model.audio_levels=2", "data.audio_levels=2", f"data.audio_order={order}"))
    layout = layout_of(config, get_task("unconditional"))
    assert [(s.level, s.levels) for s in layout.segments if s.kind == "audio"] == runs
