"""What the tasks declare, and a user's own."""

import subprocess
import sys

import pytest

from videopoet_jax.sequence import plugins
from videopoet_jax.sequence.tasks import PLUGINS, TASKS, Span, Task, frame_prediction, get_task, register


def test_every_task_of_the_paper_is_declared():
    outputs = {
        "image": {"text_to_image"},
        "inpainted": {"inpainting", "editing"},
        "outpainted": {"outpainting"},
        "stylized": {"stylization", "stylization_with_first_frame"},
        "audio": {"video_to_audio"},
        "text": {"captioning"},
        # [VP] one <task> for each unique output: these write a clip, whatever they are given
        "video": {"text_to_video", "unconditional", "image_to_video", "image_to_video_without_text",
                  *(f"frame_prediction_{n}" for n in (5, 9, 13)), "frame_interpolation", "audio_to_video",
                  "audio_video_continuation", "video_continuation"},
    }  # fmt: skip
    assert {kind: {t.name for t in TASKS.values() if t.output == kind} for kind in outputs} == outputs
    assert len(TASKS) == sum(map(len, outputs.values()))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_pixel_of_the_clip_itself_is_both_read_and_written(task):
    read = [s for s in task.reads if s.key == "video" and not s.alone]
    written = [s for s in task.writes if s.key == "video"]
    if read and written:
        assert written[0].start == read[0].stop and written[0].stop is None


def test_what_a_record_must_have():
    assert get_task("text_to_video").keys(sound=True) == ("video", "audio")
    assert get_task("text_to_video").keys(sound=False) == ("video",)
    assert get_task("inpainting").keys(sound=True) == ("inpainting", "video")
    assert get_task("stylization_with_first_frame").keys(sound=True) == ("structure", "video")
    assert get_task("frame_interpolation").keys(sound=True) == ("video", "last_frame")
    assert get_task("captioning").keys(sound=True) == ("video",)
    assert {n for n, t in TASKS.items() if t.needs_sound} == {"video_to_audio", "audio_to_video"}
    assert {n for n, t in TASKS.items() if t.needs_text} == {
        "text_to_image", "text_to_video", "image_to_video", "editing", "stylization", "stylization_with_first_frame",
        "video_continuation", "captioning",
    }  # fmt: skip


def test_frame_prediction_takes_any_prefix():
    assert get_task("frame_prediction_21") == frame_prediction(21)
    assert "frame_prediction_21" not in TASKS
    with pytest.raises(ValueError, match="4 frames: need 1"):
        get_task("frame_prediction_4")


def test_unknown_names_and_cuts_between_latents_are_refused():
    with pytest.raises(ValueError, match="task 'text-to-video': unknown; use one of text_to_image, text_to_video,"):
        get_task("text-to-video")
    with pytest.raises(ValueError, match="4 frames: need 1"):
        Span("video", 0, 4)
    with pytest.raises(ValueError, match="frames 5 … 5 of a clip of 5: need start < stop"):
        Span("video", 5).frames(5)
    assert Span("video", -1, key="last_frame", alone=True).frames(17) == (16, 17)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"name": "mine-own"}, "task 'mine-own': small letters, digits and underscores are needed"),
        ({"output": "smell"}, "task mine: output 'smell' has no token; use one of video, video\\+audio"),
        ({"writes": ()}, "task mine: writes nothing; give it a span to write"),
        ({"reads": (Span("audio"), Span("video"))}, "task mine: video comes before audio"),
        ({"reads": (Span("text"),)}, "task mine: a text is read by `text=True`"),
    ],
)
def test_a_declaration_that_makes_no_sequence_is_refused(change, words):
    fields = {"name": "mine", "output": "video", "text": False, "reads": (), "writes": (Span("video"),)}
    Task(**fields)
    with pytest.raises(ValueError, match=words):
        Task(**fields | change)


def test_a_span_must_be_of_something():
    with pytest.raises(ValueError, match="modality 'smell': unknown; use one of video, audio, text"):
        Span("smell")
    with pytest.raises(ValueError, match="a frame alone is of video, has a key of its own and no stop"):
        Span("video", -1, alone=True)


def test_a_name_stands_for_one_task():
    task = get_task("unconditional")
    assert register(task) is task  # twice is once
    with pytest.raises(ValueError, match="task 'unconditional': another one has this name already"):
        register(Task("unconditional", output="video", text=True, reads=(), writes=(Span("video"),)))


PACKAGE = """
from videopoet_jax.sequence import Span, Task, register

register(
    Task(
        name="toy_retrospection",
        output="video",
        text=False,
        reads=(Span("video", -1, key="last_frame", alone=True),),
        writes=(Span("video"), Span("audio")),
    )
)
"""


@pytest.mark.parametrize(
    "module, words",
    [
        ("raise KeyError('x')", "KeyError: 'x'"),
        (None, "ModuleNotFoundError: No module named 'toy_tasks'"),
        (PACKAGE.replace("toy_retrospection", "text_to_video"), "ValueError: task 'text_to_video': another one has"),
    ],
)
def test_whose_module_fails_is_told(tmp_path, module, words, monkeypatch):
    if module is not None:
        (tmp_path / "toy_tasks.py").write_text(module)
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{PLUGINS}]\ntoy = toy_tasks\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_tasks", raising=False)
    with pytest.raises(ValueError, match=f"^toy_tasks, an entry point {PLUGINS} of package 'toy': {words}.*; correct"):
        plugins.load(PLUGINS)


def test_a_users_own_task_is_ten_lines_in_a_package_of_his(tmp_path):
    """A package that is installed beside ours: a module, and the entry point that pip would write."""
    (tmp_path / "toy_tasks.py").write_text(PACKAGE)
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[videopoet_jax.tasks]\ntoy = toy_tasks\n")
    assert len(PACKAGE.strip().splitlines()) <= 12
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from videopoet_jax.cli.main import main; "
        "main(['tasks', 'toy_retrospection'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "toy_retrospection" in done.stdout and "<bov_i> | last_frame 256 | <eov_i>" in done.stdout
