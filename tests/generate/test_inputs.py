"""What a pipeline is told: frames to start from, the task that inputs make plain, prompts it does not know."""

import warnings

import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.data.moving_digits import HELD_OUT, render
from videopoet_jax.generate.inputs import Settings, default_task, given_frames, refuse_untrained, warn_of_strangers


@pytest.fixture
def settings():
    return Settings(**load_config("pipeline:nano").to_dict())


@pytest.mark.parametrize(
    ("has_prompt", "given", "task"),
    [
        (True, 0, "text_to_video"),
        (False, 0, "unconditional"),
        (True, 1, "image_to_video"),
        (False, 1, "image_to_video"),
        (False, 9, "frame_prediction_9"),
    ],
)
def test_inputs_make_the_task_plain(has_prompt, given, task):
    assert default_task(has_prompt=has_prompt, given=given) == task


def test_a_number_of_frames_that_no_task_reads_is_refused():
    with pytest.raises(ValueError, match="6 frames given: a clip is continued from 1, 5, 9 or 13"):
        default_task(has_prompt=False, given=6)


def test_an_image_is_a_video_of_one_frame():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(given_frames(image, None), image[None])
    np.testing.assert_array_equal(given_frames(None, image[None]), image[None])
    assert given_frames(None, None) is None


@pytest.mark.parametrize("frames", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(frames):
    with pytest.raises(ValueError, match="give uint8"):
        given_frames(frames, None)


def test_image_and_video_together_are_refused():
    with pytest.raises(ValueError, match="both were given"):
        given_frames(np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8))


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


def test_inputs_that_no_task_reads_are_refused(settings):
    with pytest.raises(ValueError, match="mask: none of this model's tasks"):
        refuse_untrained(settings, audio=None, mask=np.zeros(1))
