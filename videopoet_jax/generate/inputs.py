"""What a pipeline is told: its settings, and the inputs of a call with the task that they make plain."""

import dataclasses
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from videopoet_jax.sequence import TASKS


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a pipeline's `config.json` holds beside the models.

    Attributes:
        num_frames, height, width, fps, sample_rate: of the clips it was trained on, and by default makes.
        audio_levels: RVQ levels that the language model writes.
        audio_order: of several levels, "levels" one after the other or "frames" by frames.
        text_length: text slots.
        source: value of the `<source:…>` token.
        tasks: names of the tasks it was trained on.
        guidance_scale, temperature, top_k, top_p: the sampling that `generate` uses unless told otherwise.
        grammar, grammar_pattern: the prompts it understands, in words and as a regular expression; empty for any.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    sample_rate: int
    audio_levels: int
    audio_order: str
    text_length: int
    source: str
    tasks: tuple[str, ...]
    guidance_scale: float | None
    temperature: float
    top_k: int | None
    top_p: float | None
    grammar: str
    grammar_pattern: str

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the clips that it makes by default."""
        return self.num_frames, self.height, self.width


def given_frames(image: Any, video: Any) -> UInt8[np.ndarray, "t h w 3"] | None:
    """The frames to start from, uint8 [t h w 3], of an image or a video."""
    if image is not None and video is not None:
        raise ValueError("image and video: both were given; an image is a video of one frame, give one of them.")
    frames = image if video is None else video
    if frames is None:
        return None
    frames = np.asarray(frames)
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames {frames.dtype} {list(frames.shape)}: give uint8 [h w 3] or [t h w 3].")
    return frames


def default_task(*, has_prompt: bool, given: int) -> str:
    """The task that the inputs make plain: `prompt → text_to_video, 1 frame → image_to_video, 5 frames → …`"""
    if given == 0:
        return "text_to_video" if has_prompt else "unconditional"
    if given == 1:
        return "image_to_video"
    name = f"frame_prediction_{given}"
    if name not in TASKS:
        raise ValueError(f"{given} frames given: a clip is continued from 1, 5, 9 or 13 frames; cut it to one of them.")
    return name


def refuse_untrained(settings: Settings, **inputs: Any) -> None:
    """Raises for inputs that none of the model's tasks reads."""
    for name, value in inputs.items():
        if value is not None:
            raise ValueError(
                f"{name}: none of this model's tasks ({', '.join(settings.tasks)}) reads one; leave it out."
            )


def warn_of_strangers(
    settings: Settings, prompts: Sequence[str], truncated: Iterable[bool], size: Sequence[int]
) -> None:
    """Warns of prompts that the model's grammar does not hold, of those that were cut, and of another size."""
    pattern = settings.grammar_pattern
    strange = [p for p in prompts if pattern and not re.fullmatch(pattern, p.strip().lower())]
    if strange:
        warnings.warn(
            f"{strange[0][:60]!r}: not a prompt this model was trained on, so expect little; it knows "
            f"{settings.grammar}.",
            stacklevel=4,
        )
    cut = sum(map(bool, truncated))
    if cut:
        warnings.warn(f"{cut} prompts: longer than {settings.text_length} pieces, cut to fit.", stacklevel=4)
    if tuple(size) != settings.size:
        asked, trained = (" × ".join(map(str, numbers)) for numbers in (size, settings.size))
        warnings.warn(
            f"{asked} (frames × height × width): this model was trained at {trained} alone, so expect little.",
            stacklevel=4,
        )
