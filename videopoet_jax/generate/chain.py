"""Tasks one after another, each on what the one before it made:

    image_to_video: a red 3 moving left → stylize: blue → outpaint(vertical) → video_to_audio

A step is a task's name, or a verb for it (`VERBS`), in brackets the mask of a task that fills a hole, and its prompt
behind a colon, in which there can be no arrow. A step sees no other step's prompt. What a step does not write stays:
stylized frames keep their sound.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.given import HOLES, Given, check_given, writes
from videopoet_jax.generate.inputs import seed_of_step
from videopoet_jax.generate.long import joined
from videopoet_jax.generate.pipeline import VideoPoet
from videopoet_jax.sequence.tasks import Task

ARROW = re.compile(r"\s*(?:→|->)\s*")
STEP = re.compile(r"(?P<name>\w+)\s*(?:\((?P<mask>[^()]*)\))?\s*(?::\s*(?P<prompt>.*))?", re.DOTALL)
VERBS = {
    "inpaint": "inpainting",
    "outpaint": "outpainting",
    "edit": "editing",
    "stylize": "stylization",
    "continue": "video_continuation",
    "caption": "captioning",
}


class Step(NamedTuple):
    """A task, its prompt if it has one, and the name of its mask's region."""

    task: str
    prompt: str | None = None
    mask: str | None = None


def parse(chain: str) -> list[Step]:
    """`text_to_video: a red 3 → outpaint(central)` → `[Step("text_to_video", "a red 3"), Step("outpainting", None,
    "central")]`

    Raises:
        ValueError: a step that is none.
    """
    steps = []
    for number, text in enumerate(ARROW.split(chain.strip()), start=1):
        match = STEP.fullmatch(text)
        if match is None:
            raise ValueError(f"step {number}, {text!r}: write TASK, TASK: PROMPT or TASK(MASK), with → or -> between.")
        name, prompt = match["name"], match["prompt"] and match["prompt"].strip()
        steps.append(Step(VERBS.get(name, name), prompt or None, match["mask"]))
    return steps


def checked(vp: VideoPoet, steps: Sequence[Step], given: Given) -> list[Task]:
    """The steps' tasks.

    Raises:
        ValueError: a task that the model does not know; a prompt, a mask, frames or sound that are missing or not read.
    """
    if not steps:
        raise ValueError("a chain of no steps: name a task at least.")
    if steps[0].mask and given.mask is not None:
        raise ValueError(f"mask, and ({steps[0].mask}) in the chain: both were given; use one of them.")
    tasks, frames, sound = [], 0, False
    for number, step in enumerate(steps, start=1):
        task, where = vp.trained_task(step.task), f"step {number}, {step.task}"
        if step.prompt and not task.text:
            raise ValueError(f"{where}: reads no text; leave {step.prompt!r} out.")
        if task.text and not step.prompt and task.name != "image_to_video":
            raise ValueError(f"{where}: reads a text; write `{step.task}: TEXT`.")
        fills = any(span.key in HOLES for span in task.reads)
        if step.mask and not fills:
            raise ValueError(f"{where}: fills no hole; leave ({step.mask}) out.")
        if fills and not step.mask and (number > 1 or given.mask is None):
            raise ValueError(f"{where}: fills a hole; write `{step.task}(central)`, or another region.")
        check_given(mask=step.mask or None)
        if number > 1:
            _check_follows(where, task, frames, sound, vp.settings.num_frames)
        if writes(task, "video"):
            frames = task.frames or vp.settings.num_frames
        elif number == 1:
            frames = given.count
        sound = writes(task, "audio") or sound or given.audio is not None
        tasks.append(task)
    return tasks


def _check_follows(where: str, task: Task, frames: int, sound: bool, whole: int) -> None:
    """Raises where a clip of so many frames, with or without sound, is not what the task reads."""
    if not task.reads:
        raise ValueError(f"{where}: reads nothing of the step before it; put it first.")
    reads = max((span.frames(whole)[1] for span in task.reads if span.modality == "video"), default=0)
    if frames < reads:
        raise ValueError(f"{where}: reads {reads} frames, and the step before it makes {frames}; put another between.")
    if not sound and any(span.modality == "audio" for span in task.reads):
        raise ValueError(f"{where}: hears sound, and no step before it makes any; put video_to_audio between.")


def run(
    vp: VideoPoet,
    chain: str | Sequence[Step],
    *,
    image: Any = None,
    video: Any = None,
    audio: Any = None,
    mask: Any = None,
    structure: Any = None,
    seed: int = 0,
    **sampling: Any,
) -> Iterator[Clip]:
    """Every step's clip, as soon as it is made.

    Args:
        image, video, audio, mask, structure: the first step's, as `VideoPoet.generate` takes them.
        seed: each step's own is made of it and of its number.
        sampling: every step's guidance_scale, temperature, top_k, top_p.

    Raises:
        ValueError: as `parse` and `checked`, before anything is made; or inputs that the first step does not take.
    """
    steps = parse(chain) if isinstance(chain, str) else chain
    given = check_given(image, video, audio, mask, structure)
    tasks, clip = checked(vp, steps, given), None
    inputs = dict(image=image, video=video, audio=audio, mask=steps[0].mask or mask, structure=structure)
    for number, (step, task) in enumerate(zip(steps, tasks, strict=True)):
        if clip is not None:
            inputs = inputs_of(task, clip) | ({"mask": step.mask} if step.mask else {})
        clip = vp.generate(step.prompt, task=task.name, seed=seed_of_step(seed, number), **inputs, **sampling)
        yield clip


def inputs_of(task: Task, clip: Clip) -> dict[str, Any]:
    """What a task is given of a clip: all of it, or the end of it where the task goes on from some frames.

    Its sound, too, where the task reads it or keeps it.
    """
    video = [span for span in task.reads if span.modality == "video"]
    ends = video and all(span.stop is not None and not span.alone for span in video)
    shown = joined([clip], keep=max(span.stop for span in video)) if ends else clip
    inputs: dict[str, Any] = {"video": shown.frames} if video else {}
    hears = any(span.modality == "audio" for span in task.reads) or not writes(task, "audio")
    return inputs | ({"audio": shown.audio} if hears and shown.audio is not None else {})
