"""`videopoet tasks`: every layout at the paper's shapes, to the token."""

import json
from pathlib import Path

import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.sequence import TASKS, get_task

GOLDEN = Path(__file__).parents[1] / "golden" / "tasks.txt"
SHAPES = (
    (),
    ("--num-frames", "17", "--height", "224", "--width", "128"),
    ("--num-frames", "41", "--height", "128", "--width", "128"),
    ("--num-frames", "41", "--height", "224", "--width", "128"),
    ("--silent",),
    ("--config", "lm:nano"),
)


def shown(capsys, *options):
    main(["tasks", *options])
    return f"$ videopoet tasks {' '.join(options)}".rstrip() + "\n" + capsys.readouterr().out


def test_the_layouts_of_all_tasks_are_as_they_were(capsys, tmp_path, request):
    """What a changed layout breaks is every model that was trained with it.

    `python -m pytest tests/cli/test_tasks.py` writes what it found beside the golden file's name in its message.
    """
    found = "\n".join(shown(capsys, *options) for options in SHAPES)
    (tmp_path / "tasks.txt").write_text(found)
    assert found == GOLDEN.read_text(), f"{tmp_path / 'tasks.txt'} differs from {GOLDEN}"


def test_lengths_add_up_and_what_a_record_needs_is_named(capsys, tmp_path):
    main(["tasks", "--json", str(tmp_path / "tasks.json")])
    rows = {row["task"]: row for row in json.loads((tmp_path / "tasks.json").read_text())}
    assert set(rows) == set(TASKS)
    # 256 tokens a latent, 106 frames of sound on four levels, 64 slots of text, and the markers
    assert rows["text_to_video"]["length"] == 2 + 66 + 2 + (1280 + 2) + (424 + 2) + 1
    assert rows["text_to_image"]["length"] == 2 + 66 + 2 + (256 + 1)
    assert rows["audio_to_video"]["length"] == 2 + 426 + 2 + 1282 + 1
    assert rows["video_continuation"]["prefix_length"] == 2 + 66 + 770 + 4 * 56 + 2 + 2
    assert rows["editing"]["record"] == ["text", "editing", "video"]
    assert rows["captioning"] | {"output": ""} == rows["captioning"] | {"output": "", "reads": ["video"]}
    assert rows["captioning"]["output"] == "<bot_o> | pieces 64"


def test_tasks_of_sound_alone_are_left_out_of_silent_clips(capsys):
    main(["tasks", "--silent"])
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line and line[0] != " "}
    assert names == {name for name in TASKS if not get_task(name).needs_sound}


@pytest.mark.parametrize("frames", [1, 5, 9, 13])
def test_what_does_not_fit_into_a_short_clip_is_left_out_and_said(capsys, frames):
    main(["tasks", "--num-frames", str(frames)])
    said = capsys.readouterr()
    names = [line.split()[0] for line in said.out.splitlines() if line and line[0] != " "]
    left = [line.split()[3].rstrip(":") for line in said.err.splitlines()]
    assert sorted(names + left) == sorted(TASKS) and "text_to_image" in names
    assert {f"frame_prediction_{n}" for n in (5, 9, 13) if n >= frames} <= set(left)
    assert all(line.startswith("left out: task ") for line in said.err.splitlines())


def test_a_task_named_twice_is_shown_once(capsys):
    assert shown(capsys, "inpainting", "inpainting").count("<task:inpainted>") == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nothing"], "task 'nothing': unknown; use one of text_to_image"),
        (["--num-frames", "16"], "16 frames: need 1 + 4·k; try 17"),
        (["--num-frames", "14"], "14 frames: need 1 + 4·k; try 13"),
        (["--num-frames", "4000001"], "error: 4000001 frames: clips of up to 253 fit; ask for fewer."),
        (["--height", "100"], "height 100: need a multiple of the stride 8; try 96"),
        (["frame_prediction_17"], "task frame_prediction_17: frames 17 … 17 of a clip of 17: need start < stop ≤ 17"),
        (
            ["video_to_audio", "--silent"],
            "task video_to_audio of a silent clip: sound is all that it reads, or writes; leave --silent.",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, words):
    with pytest.raises(SystemExit) as leave:
        main(["tasks", *arguments])
    assert leave.value.code == 2 and words in capsys.readouterr().err
