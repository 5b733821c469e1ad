"""What a call of `generate` gives beside its prompt, the task that it makes plain, and what that task is shown of it.

image [h w 3]                              image_to_video
image [2 h w 3]: the first and the last    frame_interpolation
video [5 h w 3], 9 or 13                   frame_prediction_5
video and mask                             inpainting, with a prompt editing; by name outpainting
structure [t h w 3]                        stylization, with an image stylization_with_first_frame
audio [s]                                  audio_to_video, with an image audio_video_continuation, with 9 frames
                                           video_continuation
video                                      by name video_to_audio, captioning, or stylization by the flow in it
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from videopoet_jax.data import painting
from videopoet_jax.data.media import fit
from videopoet_jax.data.views import views_of
from videopoet_jax.sequence.layout import Layout
from videopoet_jax.sequence.tasks import Span, Task

HOLES = {"inpainting": painting.inpainting, "outpainting": painting.outpainting, "editing": painting.inpainting}


@dataclasses.dataclass(frozen=True)
class Given:
    """Checked inputs.

    Attributes:
        frames: of an image or a video, of any size.
        audio: at the model's sample rate.
        mask: True where pixels are to be written, for every frame or one for all. Or a name of `painting.REGIONS`: what
            inpainting and editing write, and what outpainting keeps.
        structure: flow and depth as a picture (`data.structure`).
    """

    frames: UInt8[np.ndarray, "t h w 3"] | None = None
    audio: Float[np.ndarray, " s"] | None = None
    mask: Bool[np.ndarray, "*n y x"] | str | None = None  # as large as the frames, which `hole_of` checks
    structure: UInt8[np.ndarray, "of_it v u 3"] | None = None

    @property
    def count(self) -> int:
        """How many frames are given."""
        return 0 if self.frames is None else len(self.frames)


def check_given(image: Any = None, video: Any = None, audio: Any = None, mask: Any = None, structure: Any = None):
    """`Given`, of what `generate` was given.

    Raises:
        ValueError: an input of another type or shape, or an image and a video.
    """
    if image is not None and video is not None:
        raise ValueError("image and video: both were given; an image is a video of one frame, give one of them.")
    if mask is not None and not isinstance(mask, str):
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim not in (2, 3) or 0 in mask.shape:
            raise ValueError(f"mask {mask.dtype} {list(mask.shape)}: give bool [h w] or [t h w], True where to write.")
    elif mask is not None and mask not in painting.REGIONS:
        raise ValueError(f"mask {mask!r}: unknown; use one of {', '.join(painting.REGIONS)}, or bool [t h w].")
    if audio is not None:
        audio = np.asarray(audio)
        if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
            raise ValueError(f"audio {audio.dtype} {list(audio.shape)}: give float32 [s], one channel in [-1, 1].")
        audio = audio.astype(np.float32)
    return Given(_pictures("frames", image if video is None else video), audio, mask, _pictures("structure", structure))


def _pictures(name: str, frames: Any) -> UInt8[np.ndarray, "t h w 3"] | None:
    if frames is None:
        return None
    frames = np.asarray(frames)
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"{name} {frames.dtype} {list(frames.shape)}: give uint8 [h w 3] or [t h w 3].")
    return frames


def default_task(given: Given, *, has_prompt: bool) -> str:
    """The task that the inputs make plain.

    Raises:
        ValueError: they make none plain.
    """
    if given.mask is not None:
        return "editing" if has_prompt else "inpainting"
    if given.structure is not None:
        return "stylization_with_first_frame" if given.count else "stylization"
    if given.audio is not None:
        names = {0: "audio_to_video", 1: "audio_video_continuation", 9: "video_continuation"}
    else:
        names = {0: "text_to_video" if has_prompt else "unconditional", 1: "image_to_video", 2: "frame_interpolation"}
        names |= {count: f"frame_prediction_{count}" for count in (5, 9, 13)}
    if given.count not in names:
        *some, last = (str(count) for count in names)
        raise ValueError(
            f"{given.count} frames given{' with sound' if given.audio is not None else ''}: what to do with them is "
            f"plain of {', '.join(some)} or {last}; cut them, or name a task."
        )
    return names[given.count]


def shown(layout: Layout, given: Given) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """The clips that the layout's task reads, by their keys, in the size of its grid; of the clip itself no more frames
    than it reads.

    Raises:
        ValueError: an input that the task needs and misses, another number of frames or another size, or an input
            that it does not read.
    """
    task, grid = layout.task, layout.grid
    spans = {span.key: span for span in task.reads if span.modality == "video"}
    unread = {
        "mask": given.mask is not None and not spans.keys() & HOLES.keys(),
        "structure": given.structure is not None and "structure" not in spans,
    }
    for name in filter(unread.get, unread):
        raise ValueError(f"{name}: task {task.name} reads none; leave it out, or name a task that does.")
    _check_count(layout, given, spans)
    video = None if given.frames is None else np.stack([fit(f, grid.height, grid.width) for f in given.frames])
    return {key: _view(layout, given, span, video) for key, span in spans.items()}


def _check_count(layout: Layout, given: Given, spans: dict[str, Span]) -> None:
    """Raises for another number of frames than the task reads."""
    name, frames = layout.task.name, layout.grid.frames
    if given.structure is not None and len(given.structure) != frames:
        raise ValueError(f"structure of {len(given.structure)} frames: task {name} reads {frames}; give as many.")
    stops = {key: span.frames(frames)[1] for key, span in spans.items()}
    if given.structure is not None:
        del stops["structure"]
    needed = max(stops.values(), default=0)
    ends = any(span.alone for span in spans.values()) and stops.get("video", 1) == 1
    if given.count != needed and not (ends and given.count == 2):
        number = f"{needed}, or the first and the last" if ends else needed
        raise ValueError(
            f"{given.count} frames given: task {name} reads {number}; give an image (1 frame) or a video of as many "
            f"frames as the task reads."
        )


def _view(
    layout: Layout, given: Given, span: Span, video: UInt8[np.ndarray, "t h w 3"] | None
) -> UInt8[np.ndarray, "seen y x 3"]:
    grid = layout.grid
    if span.key in HOLES:
        return painting.paint(video, hole_of(given, span.key, layout))
    if span.key == "structure" and given.structure is not None:
        return np.stack([fit(frame, grid.height, grid.width) for frame in given.structure])
    if span.key == "video":
        return video[: span.frames(grid.frames)[1]]
    return views_of({"video": video}, [span.key], (0,))[span.key]


def writes(task: Task, modality: str) -> bool:
    """Whether the task writes some of a modality."""
    return any(span.modality == modality for span in task.writes)


def hole_of(given: Given, key: str, layout: Layout) -> Bool[np.ndarray, "t h w"]:
    """Where the task is to write, in the size of its grid.

    Raises:
        ValueError: no mask, one of another size than the frames, or one that hides nothing or everything.
    """
    task, grid, mask = layout.task, layout.grid, given.mask
    if mask is None:
        raise ValueError(
            f"mask: task {task.name} fills a hole; give bool [t h w] or one of {', '.join(painting.REGIONS)}."
        )
    if isinstance(mask, str):
        return HOLES[key](mask, grid.frames, grid.height, grid.width)
    t, h, w, _ = given.frames.shape
    if mask.shape not in ((h, w), (t, h, w)):
        raise ValueError(f"mask {list(mask.shape)}: the frames are {[t, h, w]}; give [h w] or [t h w] of their size.")
    pictures = np.repeat(np.where(mask, np.uint8(255), np.uint8(0))[..., None], 3, axis=-1)
    pictures = np.broadcast_to(pictures, (t, h, w, 3))
    hole = np.stack([fit(picture, grid.height, grid.width)[..., 0] >= 128 for picture in pictures])
    if hole.all() or not hole.any():
        raise ValueError(
            f"mask: in the model's size, {grid.height}×{grid.width} cut from the middle, it hides "
            f"{'everything' if hole.all() else 'nothing'}; hide what is to be written anew."
        )
    return hole


def heard(layout: Layout, given: Given, *, fps: float, sample_rate: int) -> Float[np.ndarray, " s"] | None:
    """The sound that the layout's task reads, cut to it.

    Raises:
        ValueError: none or too little where the task reads some, or some where it writes its own.
    """
    stops = [s.frames(layout.grid.frames)[1] for s in layout.task.reads if s.modality == "audio"]
    name, samples = layout.task.name, 0 if given.audio is None else len(given.audio)
    if not stops:
        if samples and writes(layout.task, "audio"):
            raise ValueError(f"audio: task {name} writes its own and reads none; leave it out, or name another task.")
        return None
    needed = round(max(stops) / fps * sample_rate)
    if samples < needed:
        raise ValueError(
            f"{samples:,} samples of sound: task {name} reads {needed:,}, {needed / sample_rate:g} s at "
            f"{sample_rate:,} Hz; give a longer one."
        )
    return given.audio[:needed]
