"""What a pipeline says of prompts and sizes that it does not know."""

import warnings

import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.data.moving_digits import HELD_OUT, render
from videopoet_jax.generate.inputs import Settings, warn_of_strangers


@pytest.fixture
def settings():
    return Settings(**load_config("pipeline:nano").to_dict())


def test_the_world_s_own_prompts_are_no_strangers(settings):
    prompts = [f"a {t.colour} {t.digit} moving {t.direction}" for t in HELD_OUT]
    prompts += [render("train", 1, i).truth.caption for i in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_strangers(settings, prompts, [False] * len(prompts), settings.size)


def test_strangers_cut_prompts_and_other_sizes_are_warned_of(settings):
    with pytest.warns(UserWarning) as found:
        warn_of_strangers(settings, ["a dog on a beach"], [True], (17, 64, 96))
    assert "it knows a {red|" in str(found[0].message)
    assert "cut to fit" in str(found[1].message)
    assert "17 × 64 × 96 (frames × height × width): this model was trained at 17 × 64 × 64" in str(found[2].message)
