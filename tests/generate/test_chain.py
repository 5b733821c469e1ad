"""Chains of tasks: how they are written, what is refused before anything is made, what a step gets of the last one."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data.moving_digits import render
from videopoet_jax.generate.chain import Step, checked, parse, run
from videopoet_jax.generate.given import Given
from videopoet_jax.generate.inputs import seed_of_step

TRUE = render("test", 1, 0, num_frames=17, height=64, width=64)


def test_a_chain_is_its_steps():
    assert parse(" image_to_video: a red 3, moving → stylize : blue->outpaint(vertical) → video_to_audio ") == [
        Step("image_to_video", "a red 3, moving"),
        Step("stylization", "blue"),
        Step("outpainting", None, "vertical"),
        Step("video_to_audio"),
    ]
    assert parse("edit(central): a 7") == [Step("editing", "a 7", "central")]


@pytest.mark.parametrize(("chain", "words"), [
    ("", "step 1, '': write TASK"),
    ("inpaint(central) → → caption", "step 2, '': write TASK"),
    ("colour it: blue", "step 1, 'colour it: blue': write TASK"),
    ("image_to_video → dance", "task 'dance': unknown; use one of text_to_image"),
    ("image_to_video → video_to_audio: a", "step 2, video_to_audio: reads no text; leave 'a' out"),
    ("image_to_video → stylize", "step 2, stylization: reads a text; write `stylization: TEXT`"),
    ("image_to_video → inpaint", "step 2, inpainting: fills a hole"),
    ("image_to_video → inpaint(corner)", "mask 'corner': unknown"),
    ("image_to_video(central)", "step 1, image_to_video: fills no hole"),
    ("image_to_video → text_to_video: a", "step 2, text_to_video: reads nothing of the step before it"),
    ("text_to_image: a → inpaint(central)", "step 2, inpainting: reads 17 frames, and the step before it makes 1"),
    ("stylize: a → audio_to_video", "step 2, audio_to_video: hears sound, and no step before it makes any"),
])  # fmt: skip
def test_a_chain_that_cannot_be_is_refused_before_anything_is_made(vp, chain, words, monkeypatch):
    monkeypatch.setattr(type(vp), "generate", None)
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        next(run(vp, chain, video=TRUE.frames))


def test_steps_that_fit_one_another(vp):
    names = "text_to_image: a → image_to_video → video_to_audio → audio_to_video → caption → frame_prediction_5"
    assert [task.name for task in checked(vp, parse(names), Given())][-2:] == ["captioning", "frame_prediction_5"]


def test_a_step_gets_what_the_last_one_made_and_no_prompt_but_its_own(vp):
    chain = "image_to_video: a red 3 moving left → stylize: blue → outpaint(vertical) → video_continuation: it turns"
    clips = list(run(vp, parse(chain), seed=3, image=TRUE.frames[0]))
    assert [len(clip.frames) for clip in clips] == [17] * 4
    alone = vp.generate("blue", task="stylization", video=clips[0].frames, seed=seed_of_step(3, 1))
    assert_array_equal(alone.frames, clips[1].frames)
    for silent in clips[1:3]:
        assert_array_equal(silent.audio, clips[0].audio)  # what a step does not write stays
    end = vp.generate("it turns", task="video_continuation", seed=seed_of_step(3, 3), video=clips[2].frames[-9:],
                      audio=clips[2].audio[-18_000:])  # fmt: skip
    assert_array_equal(end.frames, clips[3].frames)


def test_the_first_step_takes_what_the_chain_is_given(vp):
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    first, second = run(vp, "inpaint → video_to_audio", video=TRUE.frames, audio=TRUE.audio, mask=mask)
    assert_array_equal(first.audio, TRUE.audio)
    assert_array_equal(first.frames, vp.generate(video=TRUE.frames, mask=mask).frames)
    assert_array_equal(second.frames, first.frames)
    assert second.audio.shape == (34_000,)
