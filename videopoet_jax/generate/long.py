"""Video of any length: the last second and its sound → the next, again and again, each piece given out as it is made.

    17 frames | 8 | 8 | 8 …        a piece is written after the 9 frames before it, which are encoded anew,
       └─ 9 ──┘                    since the first of them then stands alone (17 = 1 + 16, 9 = 1 + 8)

Its sound fades in over the end of the sound before it, so that no seam clicks: a piece is given out when the next one
is made. With the task `video_continuation` a piece hears the sound before it and reads a text of its own, the next line
of a story. A model that was not trained on it goes on by `frame_prediction_9`, without text, from the frames alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.given import check_given, default_task, writes
from videopoet_jax.generate.inputs import seed_of_step
from videopoet_jax.generate.pipeline import VideoPoet

GIVEN = 9  # frames that a piece goes on from: [VP]'s last second, at 8 frames a second
FADE = 0.02  # ours: seconds of sound
TOLD, UNTOLD = "video_continuation", f"frame_prediction_{GIVEN}"


def pieces_for(frames: int, there: int, clip: int) -> int:
    """Pieces for so many frames at least, where some are there and a clip has so many: `41 of 17 + 8 + 8 … → 3`"""
    return max(0, -(-(frames - there) // (clip - GIVEN)))


def generate_long(
    vp: VideoPoet,
    prompts: Sequence[str],
    *,
    start: Clip | None = None,
    given: Mapping[str, Any] | None = None,
    num_frames: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[Clip]:
    """A film, piece by piece, a prompt for each; the last second and a piece are held.

    Args:
        prompts: of the first clip and of every piece after it; with `start` of every piece. They may be empty.
        start: a clip to go on from, as the model makes them. Its last 9 frames are given out again, before the pieces,
            because their sound fades into what comes.
        given: without `start`, the first clip's task, image, video, …, as `VideoPoet.generate` has them.
        num_frames: of a clip; a piece has 9 fewer.
        seed: each piece's own is made of it and of its number.

    Raises:
        ValueError: before anything is made: a model that cannot go on, or cannot with another prompt; no prompt; a
            start that is too short, silent, or of another size or rate; a first task that leaves nothing to go on from.
    """
    if isinstance(prompts, str):
        raise ValueError(f"{prompts!r}: one text; give a list, a prompt for each piece.")
    sampling = dict(guidance_scale=guidance_scale, temperature=temperature, top_k=top_k, top_p=top_p)
    sampling["num_frames"] = num_frames
    told = continuation_of(vp) == TOLD
    _check(vp, prompts, start, given or {}, num_frames or vp.settings.num_frames, told)
    later = sampling | ({"negative_prompt": negative_prompt} if told else {})
    if start is None:
        asked = {"negative_prompt": negative_prompt, **sampling, **(given or {})}
        last = vp.generate(prompts[0] or None, seed=seed_of_step(seed, 0), **asked)
        pending, prompts = last, prompts[1:]
    else:
        last = pending = joined([start], keep=GIVEN)
    for number, prompt in enumerate(prompts, start=1):
        whole = continued(vp, last, prompt if told else None, seed=seed_of_step(seed, number), **later)
        yield faded(pending, first_of(whole, GIVEN))
        pending = joined([whole], keep=len(whole.frames) - GIVEN)
        last = joined([last, pending], keep=GIVEN)
    yield pending


def continuation_of(vp: VideoPoet) -> str:
    """The task by which the model goes on.

    Raises:
        ValueError: it knows none.
    """
    for name in (TOLD, UNTOLD):
        if name in vp.settings.tasks:
            return name
    raise ValueError(f"this model was trained neither on {TOLD} nor on {UNTOLD}; a longer video needs one of them.")


def _check(
    vp: VideoPoet, prompts: Sequence[str], start: Clip | None, given: Mapping[str, Any], num_frames: int, told: bool
) -> None:
    """Raises for what `generate_long` refuses."""
    if not prompts:
        raise ValueError("prompts: none; give one for each piece.")
    if num_frames <= GIVEN:
        raise ValueError(f"num_frames {num_frames}: a film goes on from {GIVEN} frames; clips of more are needed.")
    if other := [] if told else [p for p in prompts if p != prompts[0]]:
        raise ValueError(
            f"{other[0]!r}: this model goes on by {UNTOLD}, which reads no text, so a film keeps to its first prompt, "
            f"{prompts[0]!r}; give that one alone, or a model with {TOLD}."
        )
    if start is None:
        media = {name: value for name, value in given.items() if name != "task"}
        name = given.get("task") or default_task(check_given(**media), has_prompt=bool(prompts[0]))
        task = vp.trained_task(name)
        if task.frames or not (writes(task, "video") and writes(task, "audio")):
            raise ValueError(f"task {task.name}: makes no clip with sound, which a film goes on from; name another.")
        return
    s = vp.settings
    found = (*start.frames.shape[1:3], start.fps, start.sample_rate)
    if found != (s.height, s.width, s.fps, s.sample_rate):
        raise ValueError(
            f"a clip of {found} (height, width, frames a second, Hz): this model goes on from {s.height, s.width} at "
            f"{s.fps:g} frames a second with sound at {s.sample_rate:,} Hz; bring it to that."
        )
    if len(start.frames) < GIVEN:
        raise ValueError(f"{len(start.frames)} frames: a film goes on from {GIVEN} at least; give a longer clip.")


def continued(vp: VideoPoet, clip: Clip, prompt: str | None, **options: Any) -> Clip:
    """The last 9 frames of a clip and what follows on them."""
    end = joined([clip], keep=GIVEN)
    sound = {} if prompt is None else {"audio": end.audio}
    return vp.generate(prompt, task=UNTOLD if prompt is None else TOLD, video=end.frames, **sound, **options)


def faded(clip: Clip, again: Clip) -> Clip:
    """A clip whose sound becomes that of `again`, which ends where it does, in its last moments."""
    samples = min(round(FADE * clip.sample_rate), len(clip.audio), len(again.audio))
    share = np.linspace(0, 1, samples, dtype=np.float32)
    end = (1 - share) * clip.audio[-samples:] + share * again.audio[-samples:]
    return dataclasses.replace(clip, audio=np.concatenate([clip.audio[:-samples], end]))


def first_of(clip: Clip, frames: int) -> Clip:
    """The first frames of a clip and their sound."""
    audio = None if clip.audio is None else clip.audio[: _samples(clip, frames)]
    return dataclasses.replace(clip, frames=clip.frames[:frames], audio=audio)


def joined(clips: list[Clip], keep: int | None = None) -> Clip:
    """Clips one behind the other; with `keep` the last so many frames of them, and their sound.

    Sound that is longer than its picture is cut, and where it is shorter there is silence.
    """
    first, frames = clips[0], np.concatenate([clip.frames for clip in clips])
    start = 0 if keep is None else max(0, len(frames) - keep)
    if any(clip.audio is None for clip in clips):
        return dataclasses.replace(first, frames=frames[start:], audio=None, sample_rate=None)
    audio = np.concatenate([_as_long_as_it_is_seen(clip) for clip in clips])
    return dataclasses.replace(first, frames=frames[start:], audio=audio[_samples(first, start) :])


def _samples(clip: Clip, frames: int) -> int:
    return round(frames / clip.fps * clip.sample_rate)


def _as_long_as_it_is_seen(clip: Clip) -> np.ndarray:
    samples = _samples(clip, len(clip.frames))
    return np.pad(clip.audio[:samples], (0, max(0, samples - len(clip.audio))))


def repeated(prompts: Sequence[str], count: int) -> list[str]:
    """So many prompts at least: the last one again, where there are too few."""
    return [*prompts, *[prompts[-1]] * (count - len(prompts))]
