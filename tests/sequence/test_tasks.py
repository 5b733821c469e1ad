"""What the tasks declare."""

import pytest

from videopoet_jax.sequence.tasks import TASKS, Span, get_task


def test_one_kind_of_output_for_all_that_write_a_clip():
    assert set(TASKS) == {"text_to_video", "unconditional", "image_to_video"} | {
        f"frame_prediction_{n}" for n in (5, 9, 13)
    }
    assert {task.output for task in TASKS.values()} == {"video"}  # [VP] one <task> for each unique output


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_is_read_and_what_is_written_make_the_clip(task):
    read = [s for s in task.reads if s.modality == "video"]
    written = [s for s in task.writes if s.modality == "video"]
    assert written[0].start == (read[0].stop if read else 0)
    assert written[0].stop is None
    assert Span("audio") in task.writes


def test_unknown_names_and_cuts_between_latents_are_refused():
    with pytest.raises(ValueError, match="task 'text-to-video': unknown; use one of text_to_video,"):
        get_task("text-to-video")
    with pytest.raises(ValueError, match="4 frames: need 1"):
        Span("video", 0, 4)
