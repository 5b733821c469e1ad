"""Video of any length: the last second and its sound → the next, again and again, each piece given out as it is made.

    17 frames | 8 | 8 | 8 …        a piece is written after the 9 frames before it, which are encoded anew,
       └─ 9 ──┘                    since the first of them then stands alone (17 = 1 + 16, 9 = 1 + 8)

Its sound fades in over the end of the sound before it, so that no seam clicks: a piece is given out when the next one
is made. With the task `video_continuation` a piece hears the sound before it and reads a text of its own, the next line
of a story. A model that was not trained on it goes on by `frame_prediction_9`, without text, from the frames alone.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.pipeline import VideoPoet

GIVEN = 9  # frames that a piece goes on from: [VP]'s last second, at 8 frames a second
FADE = 0.02  # ours: seconds of sound
TOLD, UNTOLD = "video_continuation", f"frame_prediction_{GIVEN}"


def pieces_for(frames: int, first: int, each: int) -> int:
    """Pieces after the first for so many frames at least: `41 of 17 + 8 + 8 … → 3`"""
    return max(0, -(-(frames - first) // each))


def generate_long(
    vp: VideoPoet,
    prompts: Iterable[str],
    *,
    start: Clip | None = None,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[Clip]:
    """A film, piece by piece, a prompt for each; the last second and a piece are held.

    Args:
        prompts: of the first clip and of every piece after it; with `start` of every piece. A prompt may come again,
            and be empty.
        start: a clip to go on from, with at least 9 frames, in the model's size; it is not given out again.
        given: without `start`, the first clip's task, image, video, …, as `VideoPoet.generate` has them.
        seed: each piece's own is made of it and of its number.
        options: of `VideoPoet.generate`: guidance_scale, temperature, …

    Raises:
        ValueError: a model that cannot go on, or cannot with another prompt; a start that is too short.
    """
    continuation = continuation_of(vp)
    prompts, told = iter(prompts), None
    if start is None:
        told = next(prompts, None)
        if told is None:
            raise ValueError("prompts: none; give one for each piece.")
        last = pending = vp.generate(told or None, seed=seed, **(given or {}), **options)
    else:
        last, pending = start, None
    for number, prompt in enumerate(prompts, start=1):
        if continuation == UNTOLD and prompt != (told := prompt if told is None else told):
            raise ValueError(
                f"{prompt!r}: this model goes on by {UNTOLD}, which reads no text, so the film keeps to its first "
                f"prompt, {told!r}; give that one again, or a model with {TOLD}."
            )
        whole = continued(vp, last, prompt if continuation == TOLD else None, seed=seed + number, **options)
        piece = joined([whole], keep=len(whole.frames) - GIVEN)
        if pending is not None:
            yield faded(pending, first_of(whole, GIVEN))
        last, pending = joined([last, piece], keep=GIVEN), piece
    if pending is not None:
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


def continued(vp: VideoPoet, clip: Clip, prompt: str | None, **options: Any) -> Clip:
    """The last 9 frames of a clip and what follows on them.

    Raises:
        ValueError: a clip of fewer frames, or without the sound that the task hears.
    """
    if len(clip.frames) < GIVEN:
        raise ValueError(f"{len(clip.frames)} frames: a film goes on from {GIVEN} at least; give a longer clip.")
    end = joined([clip], keep=GIVEN)
    given: dict[str, Any] = {"task": continuation_of(vp), "video": end.frames}
    if prompt is None:
        options.pop("negative_prompt", None)  # guidance leads away from it, and no text is read
    else:
        if end.audio is None:
            raise ValueError(f"a clip without sound: task {TOLD} hears the last second; give a clip with sound.")
        given["audio"] = end.audio
    return vp.generate(prompt, **given, **options)


def faded(clip: Clip, again: Clip) -> Clip:
    """A clip whose sound becomes that of `again`, which ends where it does, in its last moments."""
    if clip.audio is None or again.audio is None:
        return clip
    samples = min(round(FADE * clip.sample_rate), len(clip.audio), len(again.audio))
    share = np.linspace(0, 1, samples, dtype=np.float32)
    end = (1 - share) * clip.audio[-samples:] + share * again.audio[-samples:]
    return dataclasses.replace(clip, audio=np.concatenate([clip.audio[:-samples], end]))


def joined(clips: list[Clip], keep: int | None = None) -> Clip:
    """Clips one behind the other; with `keep` the last so many frames of them, and their sound."""
    first, frames = clips[0], np.concatenate([clip.frames for clip in clips])
    keep = len(frames) if keep is None else keep
    clip = dataclasses.replace(first, frames=frames[len(frames) - keep :])
    if any(c.audio is None for c in clips):
        return dataclasses.replace(clip, audio=None, sample_rate=None)
    audio = np.concatenate([c.audio for c in clips])
    samples = round(keep / first.fps * first.sample_rate)
    return dataclasses.replace(clip, audio=audio[len(audio) - samples :])


def first_of(clip: Clip, frames: int) -> Clip:
    """The first frames of a clip and their sound."""
    audio = None if clip.audio is None else clip.audio[: round(frames / clip.fps * clip.sample_rate)]
    return dataclasses.replace(clip, frames=clip.frames[:frames], audio=audio)


def repeated(prompts: list[str], pieces: int) -> Iterator[str]:
    """The prompts of a first clip and so many pieces: the last one again, where there are too few."""
    return itertools.islice(itertools.chain(prompts, itertools.repeat(prompts[-1])), 1 + pieces)
