"""Every task through a pipeline, of an untrained model: what is given stays, what is written has its size."""

import dataclasses
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data.moving_digits import render
from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.inputs import seed_of_step
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


def test_the_same_in_three_steps(vp):
    prepared = vp.prepare(task="video_to_audio", video=TRUE.frames)
    (clip,) = vp.decode(vp.lm.generate(prepared))
    assert_array_equal(clip.frames, TRUE.frames)
    assert_array_equal(clip.audio, vp.generate(task="video_to_audio", video=TRUE.frames).audio)
    with_sound = vp.generate(video=TRUE.frames, mask="central", audio=TRUE.audio)
    assert_array_equal(with_sound.audio, TRUE.audio)  # which the task neither reads nor writes


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
                         seed=seed_of_step(5, 1))  # fmt: skip
    assert_array_equal(pieces[1].frames, second.frames[GIVEN:])
    before = joined([first, Clip(second.frames[GIVEN:], 8.0, second.audio[18_000:], 16_000)], keep=GIVEN)
    third = vp.generate("it stops", task="video_continuation", video=before.frames, audio=before.audio,
                        seed=seed_of_step(5, 2))  # fmt: skip
    assert_array_equal(pieces[2].frames, third.frames[GIVEN:])
    assert_array_equal(pieces[2].audio, third.audio[18_000:])
    assert_array_equal(pieces[0].audio[:-320], first.audio[:-320])  # 20 ms fade into what comes next
    assert pieces[0].audio[-320] == first.audio[-320] and pieces[0].audio[-1] == second.audio[17_999]
    assert pieces[0].audio[-160] == pytest.approx((first.audio[-160] + second.audio[17_840]) / 2, abs=2e-3)
    again = list(generate_long(vp, ["it turns", "it stops"], start=first, seed=5))
    assert_array_equal(again[0].frames, first.frames[-GIVEN:])
    assert_array_equal(again[1].frames, pieces[1].frames)


def test_of_a_film_no_more_than_two_seconds_are_held(vp):
    held = []
    for piece in generate_long(vp, ["a"] * 6):
        held.append(weakref.ref(piece.frames))
        del piece
        assert sum(ref() is not None for ref in held) <= 2


@pytest.fixture
def silent(vp):
    """The model, if it had learned to go on from frames alone."""
    settings = dataclasses.replace(vp.settings, tasks=("text_to_video", "text_to_image", "frame_prediction_9"))
    return type(vp)(settings, vp.video_tokenizer, vp.audio_tokenizer, vp.text_encoder, vp.lm)


def test_a_model_that_reads_no_text_goes_on_with_the_prompt_it_has(silent):
    assert [len(piece.frames) for piece in generate_long(silent, ["a red 3", "a red 3"])] == [17, 8]


@pytest.mark.parametrize(("prompts", "options", "words"), [
    (["a", "a", "it turns"], {}, "'it turns': this model goes on by frame_prediction_9, .* 'a'"),
    ("a red 3", {}, "'a red 3': one text; give a list"),
    ([], {}, "prompts: none"),
    (["a"], {"num_frames": 9}, "num_frames 9: a film goes on from 9 frames"),
    (["a"], {"given": {"task": "text_to_image"}}, "task text_to_image: makes no clip with sound"),
    (["a"], {"start": TRUE.frames[:8]}, "8 frames: a film goes on from 9"),
    (["a"], {"start": TRUE.frames[:, :32]}, r"a clip of \(32, 64, 8.0, 16000\).* goes on from \(64, 64\)"),
])  # fmt: skip
def test_a_film_that_cannot_be_is_refused_before_anything_is_made(silent, monkeypatch, prompts, options, words):
    monkeypatch.setattr(type(silent), "generate", None)
    if "start" in options:
        options = {"start": Clip(options["start"], 8.0, TRUE.audio, 16_000)}
    with pytest.raises(ValueError, match=words):
        next(generate_long(silent, prompts, **options))


def test_a_model_that_cannot_go_on_is_told(silent):
    silent.settings = dataclasses.replace(silent.settings, tasks=("text_to_video",))
    with pytest.raises(ValueError, match="neither on video_continuation nor on frame_prediction_9"):
        next(generate_long(silent, ["a"]))


@pytest.mark.parametrize("samples", [34_816, 34_000, 15_000])  # an encoder's padding, as long, too short
def test_sound_is_cut_where_its_picture_is(samples):
    sound = np.arange(1, samples + 1, dtype=np.float32)
    end = joined([Clip(TRUE.frames, 8.0, sound, 16_000)], keep=9)
    assert len(end.frames) == 9 and len(end.audio) == 18_000
    assert end.audio[0] == (16_001 if samples > 16_000 else 0)


def test_seeds_of_steps_are_far_apart():
    seeds = {seed_of_step(seed, number) for seed in range(50) for number in range(50)}
    assert len(seeds) == 2_500 and seed_of_step(7, 0) == 7


def test_how_many_pieces_and_prompts():
    assert [pieces_for(frames, 17, 17) for frames in (1, 17, 18, 25, 41)] == [0, 0, 1, 1, 3]
    assert repeated(["a", "b"], 4) == ["a", "b", "b", "b"]
    assert repeated(["a", "b"], 1) == ["a", "b"]
