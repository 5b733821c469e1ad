"""Scores of the tasks of moving digits: true clips are right, every trap is wrong."""

import math

import numpy as np
import pytest

from videopoet_jax.data import moving_digits as world
from videopoet_jax.data import painting
from videopoet_jax.evaluate.digit_table import Rate, Sample
from videopoet_jax.evaluate.digit_tasks import Case, cheat, is_scored, scorer_of, summary, to_json, to_markdown

RATE = 16_000
TASKS = (
    *("text_to_image", "text_to_video", "unconditional", "frame_prediction_5", "frame_prediction_13"),
    *("inpainting", "outpainting", "audio_video_continuation"),
)  # fmt: skip


def case_of(task, index=0):
    clip = world.render("test", 1, index)
    holes = {"inpainting": painting.inpainting, "outpainting": painting.outpainting}
    painted = None
    if task in holes:
        painted = painting.paint(clip.frames, holes[task]("central", *clip.frames.shape[:3]))
    return Case(clip.truth.caption, clip.frames, clip.audio, RATE, painted)


def as_made(case, **changes):
    return Sample(**{"frames": case.frames, "audio": case.audio, "sample_rate": RATE, **changes})


@pytest.mark.parametrize("task", TASKS)
def test_the_truth_is_right_and_the_cheat_is_not(task):
    case = case_of(task)
    assert scorer_of(task)(as_made(case), case)["right"] == 1
    assert scorer_of(task)(cheat(task, case), case)["right"] == 0


@pytest.mark.parametrize("task", TASKS)
def test_another_clip_is_wrong(task):
    case, other = case_of(task, 0), case_of(task, 1)  # another colour, digit and direction
    valid = task == "unconditional"  # which asks for no clip in particular
    assert scorer_of(task)(as_made(other), case)["right"] == valid


def test_a_prediction_is_measured_where_it_ends():
    case = case_of("frame_prediction_5")
    exact = scorer_of("frame_prediction_5")(as_made(case), case)
    late = scorer_of("frame_prediction_5")(as_made(case, frames=np.roll(case.frames, 4, axis=0)), case)
    assert exact == {"right": 1, "end": 0}
    assert late["right"] == 0 and 6 < late["end"] < 8  # four frames of 1.5 to 1.9 pixels
    gone = scorer_of("frame_prediction_5")(as_made(case, frames=np.zeros_like(case.frames)), case)
    assert gone["right"] == 0 and math.isinf(gone["end"])


def test_painting_is_measured_on_what_of_the_digit_was_in_the_hole():
    case = case_of("inpainting")
    score = scorer_of("inpainting")
    hole = painting.inpainting("central", *case.frames.shape[:3])
    inside = hole & (case.frames.max(-1) >= 40)
    faint = np.where(inside[..., None], case.frames // 2, case.frames)
    elsewhere = np.where(hole[..., None], case.frames, 255 - case.frames)
    assert score(as_made(case), case)["decibels"] > 70
    assert score(as_made(case, frames=faint), case)["decibels"] < 12
    assert score(as_made(case, frames=elsewhere), case)["decibels"] > 70
    unseen = case._replace(painted=case.frames)
    assert math.isnan(score(as_made(case), unseen)["decibels"])


def test_a_continuation_needs_its_sound():
    case = case_of("audio_video_continuation")
    score = scorer_of("audio_video_continuation")
    assert score(as_made(case, audio=np.zeros_like(case.audio)), case)["right"] == 0


def test_a_median_bears_what_is_infinite_and_leaves_out_what_is_missing():
    cases = [case_of("inpainting", i) for i in range(4)]
    whole = summary("inpainting", [as_made(c) for c in cases], cases)["decibels"]
    assert (whole.low, whole.high) == pytest.approx((whole.value, whole.value)) and whole.value > 70
    unseen = [c._replace(painted=c.frames) for c in cases[:3]] + cases[3:]
    assert summary("inpainting", [as_made(c) for c in unseen], unseen)["decibels"].value == whole.value
    predicted = [case_of("frame_prediction_5", i) for i in range(4)]
    black = [as_made(c, frames=np.zeros_like(c.frames)) for c in predicted]
    lost = summary("frame_prediction_5", black, predicted)["end"]
    assert math.isinf(lost.value) and lost.low is lost.high is None
    rows = {"lost": {"frame_prediction_5": {"end": lost}}}
    assert to_markdown(rows).splitlines()[-1] == "| frame_prediction_5, end | – (– … –) |"
    assert to_json(rows)["lost"]["frame_prediction_5"]["end"] == {"median": None, "interval": [None, None]}


def test_a_table_of_all_systems():
    cases = [case_of("inpainting", i) for i in range(3)]
    rows = {
        "copies": {"inpainting": summary("inpainting", [as_made(c) for c in cases], cases), "unconditional": {}},
        "cheat": {"inpainting": summary("inpainting", [cheat("inpainting", c) for c in cases], cases)},
    }
    rows["copies"]["unconditional"] = {"right": Rate(1, 3)}
    first, _, second, third, last = to_markdown(rows).splitlines()
    assert first == "| | copies | cheat |" and second.startswith("| inpainting | 100.0 % (43.9–100.0) | 0.0 %")
    assert third.startswith("| inpainting, decibels | ") and last == "| unconditional | 33.3 % (6.1–79.2) | – |"
    plain = to_json(rows)["cheat"]["inpainting"]
    assert plain["right"]["n"] == 3 and plain["decibels"]["median"] < 12


def test_a_task_that_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="task 'stylization': no score on moving_digits; use one of text_to_image,"):
        scorer_of("stylization")
    assert not is_scored("stylization") and is_scored("frame_prediction_9")
