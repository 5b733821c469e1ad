"""What a call gives, the task that it makes plain, and what the task is shown of it: on literal frames."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.generate.given import Given, check_given, default_task, heard, shown
from videopoet_jax.sequence import Grid, get_task, layout_for
from videopoet_jax.sequence.vocabulary import Vocabulary

RNG = np.random.default_rng(0)
VIDEO = RNG.integers(0, 256, (9, 32, 32, 3), np.uint8)
MASK = np.zeros((9, 32, 32), bool)
MASK[:, 8:24, 8:24] = True
SOUND = np.linspace(-1, 1, 30_000, dtype=np.float32)


def layout(name, frames=9, height=32, width=32):
    task = get_task(name)
    vocabulary = Vocabulary(visual_codes=2**18, audio_levels=1, text_pieces=16)
    grid = Grid(task.frames or frames, height, width, 16, 1)
    return layout_for(task, grid, vocabulary=vocabulary, text_length=8, source="moving_digits")


@pytest.mark.parametrize(
    ("inputs", "has_prompt", "task"),
    [
        ({}, True, "text_to_video"),
        ({}, False, "unconditional"),
        ({"image": VIDEO[0]}, True, "image_to_video"),
        ({"image": VIDEO[0]}, False, "image_to_video"),
        ({"image": VIDEO[:2]}, False, "frame_interpolation"),
        ({"video": VIDEO}, False, "frame_prediction_9"),
        ({"video": VIDEO, "mask": MASK}, False, "inpainting"),
        ({"video": VIDEO, "mask": "central"}, True, "editing"),
        ({"structure": VIDEO}, True, "stylization"),
        ({"structure": VIDEO, "image": VIDEO[0]}, True, "stylization_with_first_frame"),
        ({"audio": SOUND}, False, "audio_to_video"),
        ({"audio": SOUND, "image": VIDEO[0]}, False, "audio_video_continuation"),
        ({"audio": SOUND, "video": VIDEO}, True, "video_continuation"),
    ],
)
def test_inputs_make_the_task_plain(inputs, has_prompt, task):
    assert default_task(check_given(**inputs), has_prompt=has_prompt) == task


@pytest.mark.parametrize(("inputs", "words"), [
    ({"video": VIDEO[:6]}, "6 frames given: what to do with them is plain of 0, 1, 2, 5, 9 or 13"),
    ({"video": VIDEO[:5], "audio": SOUND}, "5 frames given with sound: .* plain of 0, 1 or 9"),
])  # fmt: skip
def test_inputs_that_make_no_task_plain_are_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        default_task(check_given(**inputs), has_prompt=False)


@pytest.mark.parametrize(("inputs", "words"), [
    ({"image": VIDEO[0], "video": VIDEO}, "both were given"),
    ({"image": VIDEO[0].astype(float)}, "frames float64 .*give uint8"),
    ({"image": VIDEO[0, 0]}, "give uint8"),
    ({"video": VIDEO[:0]}, "give uint8"),
    ({"structure": VIDEO[..., :2]}, "structure uint8 .*give uint8"),
    ({"mask": MASK.astype(int)}, "mask int64 .*give bool"),
    ({"mask": "corner"}, "mask 'corner': unknown; use one of central"),
    ({"audio": SOUND[None]}, "audio float32 .*one channel"),
    ({"audio": np.zeros(9, np.int16)}, "audio int16"),
])  # fmt: skip
def test_what_is_no_input_is_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        check_given(**inputs)


def test_an_image_is_a_video_of_one_frame():
    assert_array_equal(check_given(image=VIDEO[0]).frames, VIDEO[:1])
    assert check_given() == Given()


def test_of_the_clip_itself_no_more_is_shown_than_the_task_reads():
    assert shown(layout("text_to_video"), Given()) == {}
    found = shown(layout("frame_prediction_5"), Given(VIDEO[:5]))
    assert found.keys() == {"video"}
    assert_array_equal(found["video"], VIDEO[:5])


@pytest.mark.parametrize("given", [VIDEO[[0, -1]], VIDEO])
def test_an_interpolation_is_shown_both_ends(given):
    found = shown(layout("frame_interpolation"), Given(given))
    assert_array_equal(found["video"], VIDEO[:1])
    assert_array_equal(found["last_frame"], VIDEO[-1:])


@pytest.mark.parametrize(("name", "mask", "hole"), [
    ("inpainting", MASK, MASK),
    ("editing", MASK[0], MASK),
    ("inpainting", "central", MASK),
    ("outpainting", "central", ~MASK),
    ("outpainting", MASK, MASK),
])  # fmt: skip
def test_a_hole_is_grey_and_all_else_as_it_was(name, mask, hole):
    (found,) = shown(layout(name), Given(VIDEO, mask=mask)).values()
    assert (found[hole] == 128).all()
    assert_array_equal(found[~hole], VIDEO[~hole])


def test_frames_and_mask_are_brought_to_the_model_s_size_together():
    large, mask = (np.repeat(np.repeat(x, 3, axis=1), 3, axis=2) for x in (VIDEO, MASK))
    (found,) = shown(layout("inpainting"), Given(large, mask=mask)).values()
    assert found.shape == VIDEO.shape and (found[MASK] == 128).all()
    (beside,) = shown(layout("frame_prediction_5"), Given(large[:5])).values()
    assert_array_equal(found[:5][~MASK[:5]], beside[~MASK[:5]])


def test_flow_is_given_or_seen():
    assert_array_equal(shown(layout("stylization"), Given(structure=VIDEO))["structure"], VIDEO)
    pytest.importorskip("cv2")
    still = np.repeat(VIDEO[:1], 9, axis=0)
    seen = shown(layout("stylization"), Given(still))["structure"]
    assert abs(seen[..., :2].astype(int) - 128).max() <= 1 and (seen[..., 2] == 0).all()
    found = shown(layout("stylization_with_first_frame"), Given(VIDEO[:1], structure=VIDEO))
    assert_array_equal(found["video"], VIDEO[:1])


@pytest.mark.parametrize(("name", "given", "words"), [
    ("frame_prediction_5", Given(VIDEO), "9 frames given: task frame_prediction_5 reads 5"),
    ("text_to_video", Given(VIDEO), "9 frames given: task text_to_video reads 0"),
    ("inpainting", Given(VIDEO[:5], mask=MASK[:5]), "5 frames given: task inpainting reads 9"),
    ("frame_interpolation", Given(VIDEO[:3]), "3 frames given: .* reads 9, or the first and the last"),
    ("stylization", Given(structure=VIDEO[:5]), "structure of 5 frames: task stylization reads 9"),
    ("inpainting", Given(VIDEO), r"mask: task inpainting fills a hole; give bool \[t h w\] or one of central, horiz"),
    ("inpainting", Given(VIDEO, mask=MASK[:, 1:]), r"mask \[9, 31, 32\]: the frames are \[9, 32, 32\]"),
    ("inpainting", Given(VIDEO, mask=MASK[:5]), "mask .* the frames are"),
    ("inpainting", Given(VIDEO, mask=MASK & False), "hides nothing"),
    ("outpainting", Given(VIDEO, mask=MASK | True), "hides everything"),
    ("inpainting", Given(VIDEO.repeat(3, 2), mask=np.arange(96) < 20 + np.zeros((32, 1))), "32×32 cut .* nothing"),
    ("video_to_audio", Given(VIDEO, mask=MASK), "mask: task video_to_audio reads none"),
    ("inpainting", Given(VIDEO, mask=MASK, structure=VIDEO), "structure: task inpainting reads none"),
])  # fmt: skip
def test_what_a_task_needs_and_what_it_does_not_read_is_told(name, given, words):
    with pytest.raises(ValueError, match=words):
        shown(layout(name), given)


def test_of_sound_no_more_is_heard_than_the_task_reads():
    rate = dict(fps=8.0, sample_rate=16_000)
    assert heard(layout("text_to_video"), Given(), **rate) is None
    assert_array_equal(heard(layout("audio_to_video"), Given(audio=SOUND), **rate), SOUND[:18_000])
    assert_array_equal(heard(layout("audio_video_continuation"), Given(audio=SOUND), **rate), SOUND[:2_000])
    with pytest.raises(ValueError, match="1,999 samples of sound: task audio_video_continuation reads 2,000, 0.125 s"):
        heard(layout("audio_video_continuation"), Given(audio=SOUND[:1_999]), **rate)
    with pytest.raises(ValueError, match="0 samples of sound: task audio_to_video reads 18,000"):
        heard(layout("audio_to_video"), Given(), **rate)
    with pytest.raises(ValueError, match="audio: task frame_prediction_5 writes its own and reads none"):
        heard(layout("frame_prediction_5"), Given(VIDEO, audio=SOUND), **rate)
    assert heard(layout("inpainting"), Given(VIDEO, audio=SOUND, mask=MASK), **rate) is None  # stays as it is
