"""Every task through a pipeline, of an untrained model: what is given stays, what is written has its size."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data.moving_digits import render
from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.long import GIVEN, generate_long, joined, pieces_for, repeated
from videopoet_jax.sequence import TASKS

TRUE = render("test", 1, 0, num_frames=17, height=64, width=64)
GIVES = {  # task → what it is given
    "text_to_image": {"prompt": "a red 3"},
    "text_to_video": {"prompt": "a red 3 moving left"},
    "unconditional": {},
    "image_to_video": {"prompt": "a red 3 moving left", "image": TRUE.frames[0]},
    "image_to_video_without_text": {"image": TRUE.frames[0]},
    "frame_prediction_5": {"video": TRUE.frames[:5]},
    "frame_prediction_9": {"video": TRUE.frames[:9]},
    "frame_prediction_13": {"video": TRUE.frames[:13]},
    "frame_interpolation": {"image": TRUE.frames[[0, -1]]},
    "inpainting": {"video": TRUE.frames, "mask": "central"},
    "outpainting": {"video": TRUE.frames, "mask": "vertical"},
    "editing": {"prompt": "a blue 7", "video": TRUE.frames, "mask": np.eye(64, dtype=bool)},
    "stylization": {"prompt": "a blue 7", "structure": TRUE.frames},
    "stylization_with_first_frame": {"prompt": "a 7", "structure": TRUE.frames, "image": TRUE.frames[0]},
    "video_to_audio": {"video": TRUE.frames},
    "audio_to_video": {"audio": TRUE.audio},
    "audio_video_continuation": {"image": TRUE.frames[0], "audio": TRUE.audio},
    "video_continuation": {"prompt": "it turns", "video": TRUE.frames[:9], "audio": TRUE.audio},
    "captioning": {"video": TRUE.frames},
}
PICTURES_ALONE = {"text_to_image", "frame_interpolation", "inpainting", "outpainting", "editing", "stylization",
                  "stylization_with_first_frame", "captioning"}  # fmt: skip


def test_every_task_is_here():
    assert GIVES.keys() == TASKS.keys()


@pytest.mark.parametrize("task", TASKS)
def test_a_task_makes_a_clip_of_what_it_is_given(vp, task):
    clip = vp.generate(task=task, **GIVES[task])
    assert clip.frames.shape == (1 if task == "text_to_image" else 17, 64, 64, 3) and clip.fps == 8
    if task in PICTURES_ALONE:
        assert clip.audio is None
    else:
        assert clip.audio.shape == (34_000,) and clip.sample_rate == 16_000
    assert (clip.caption is not None) == (task == "captioning")
    if task in ("video_to_audio", "captioning"):
        assert_array_equal(clip.frames, TRUE.frames)  # as it was given, not the tokenizer's copy
    if task == "audio_to_video":
        assert_array_equal(clip.audio, TRUE.audio)


def test_what_is_given_is_what_the_model_reads(vp):
    """The prefix holds the codes of the view: another hole or another sound, other ids before the output."""
    one, other = (vp.prepare(task="inpainting", video=TRUE.frames, mask=mask) for mask in ("central", "vertical"))
    assert (one.batch["ids"] != other.batch["ids"]).any()
    sounds = (vp.prepare(task="audio_to_video", audio=a) for a in (TRUE.audio, TRUE.audio[::-1]))
    assert np.not_equal(*(prepared.batch["ids"] for prepared in sounds)).any()
    whole, first = (vp.prepare("it", task="video_continuation", video=TRUE.frames[:9], audio=TRUE.audio[:n])
                    for n in (34_000, 18_000))  # fmt: skip
    assert_array_equal(whole.batch["ids"], first.batch["ids"])


def test_a_picture_is_saved_as_one(vp, tmp_path):
    picture = vp.generate("a red 3", task="text_to_image")
    picture.save(tmp_path / "three.png")
    assert (tmp_path / "three.png").read_bytes().startswith(b"\x89PNG")


def test_a_film_is_its_pieces_and_each_goes_on_from_the_second_before_it(vp):
    pieces = list(generate_long(vp, ["a red 3", "it turns", "it stops"], seed=5))
    assert [len(p.frames) for p in pieces] == [17, 8, 8]
    assert [len(p.audio) for p in pieces] == [34_000, 16_000, 16_000]
    first = vp.generate("a red 3", seed=5)
    assert_array_equal(pieces[0].frames, first.frames)
    second = vp.generate("it turns", task="video_continuation", video=first.frames[-9:], audio=first.audio[-18_000:],
                         seed=6)  # fmt: skip
    assert_array_equal(pieces[1].frames, second.frames[GIVEN:])
    before = joined([first, Clip(second.frames[GIVEN:], 8.0, second.audio[18_000:], 16_000)], keep=GIVEN)
    third = vp.generate("it stops", task="video_continuation", video=before.frames, audio=before.audio, seed=7)
    assert_array_equal(pieces[2].frames, third.frames[GIVEN:])
    assert_array_equal(pieces[2].audio, third.audio[18_000:])
    assert_array_equal(pieces[0].audio[:-320], first.audio[:-320])  # 20 ms fade into what comes next
    assert pieces[0].audio[-320] == first.audio[-320] and pieces[0].audio[-1] == second.audio[17_999]
    assert pieces[0].audio[-160] == pytest.approx((first.audio[-160] + second.audio[17_840]) / 2, abs=2e-3)


def test_a_model_that_reads_no_text_goes_on_with_the_prompt_it_has(vp):
    silent = vp.__class__(dataclasses.replace(vp.settings, tasks=("text_to_video", "frame_prediction_9")),
                          vp.video_tokenizer, vp.audio_tokenizer, vp.text_encoder, vp.lm)  # fmt: skip
    film = generate_long(silent, ["a red 3", "a red 3", "it turns"])
    assert len(next(film).frames) == 17
    with pytest.raises(ValueError, match="'it turns': this model goes on by frame_prediction_9, .* 'a red 3'"):
        next(film)
    with pytest.raises(ValueError, match="8 frames: a film goes on from 9"):
        next(generate_long(silent, ["a"], start=joined([pieces_of(17)], keep=8)))
    silent.settings = dataclasses.replace(silent.settings, tasks=("text_to_video",))
    with pytest.raises(ValueError, match="neither on video_continuation nor on frame_prediction_9"):
        next(generate_long(silent, ["a"]))


def pieces_of(frames):
    return Clip(np.zeros((frames, 64, 64, 3), np.uint8), 8.0)


def test_how_many_pieces_and_prompts():
    assert [pieces_for(frames, 17, 8) for frames in (1, 17, 18, 25, 41)] == [0, 0, 1, 1, 3]
    assert list(repeated(["a", "b"], 3)) == ["a", "b", "b", "b"]
    assert list(repeated(["a", "b"], 0)) == ["a"]
