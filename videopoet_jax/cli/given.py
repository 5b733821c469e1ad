"""The media options of `generate` and `chain`, and how their files become what a pipeline is given."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

FILE = click.Path(path_type=Path)
OPTIONS = (
    click.option("--image", type=FILE, help="The first frame."),
    click.option("--last-image", type=FILE, help="The last one: what comes between is written."),
    click.option("--video", type=FILE, help="A video: to be continued, filled, stylized, heard or described."),
    click.option("--audio", type=FILE, help="A sound, or a video's; by default that of --video."),
    click.option("--mask", help="What of --video to write anew: central, horizontal, vertical, dynamic or "
                 "dynamic_central; frames, rows and columns of the model's size, as in :,16:48,0:32; or a picture or "
                 "video that is white there."),
    click.option("--structure", type=FILE, help="Flow and depth as a video; by default the flow in --video."),
)  # fmt: skip
SLICE = re.compile(r"(\d*):(\d*)")


def media_options(command: Callable) -> Callable:
    """Adds the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def read_given(
    settings: Any, task: str | None, *, image: Path | None, last_image: Path | None, video: Path | None,
    audio: Path | None, mask: str | None, structure: Path | None, prefix_frames: int = 5,
) -> dict[str, Any]:  # fmt: skip
    """What `VideoPoet.generate` takes: `image, video, audio, mask, structure`, those that are there.

    Of a video as many frames are read as the task asks for: all of a clip where it has a hole, 9 where a sound is given
    too, and `prefix_frames` where nothing says more.

    Raises:
        ValueError: inputs that do not go together, a video that is too short, a mask that is none.
        FileNotFoundError, MediaError: files that cannot be read.
    """
    from videopoet_jax.data.media import fit, read_audio, read_image, read_video
    from videopoet_jax.sequence import get_task

    frames, height, width = settings.size
    if (image or last_image) and video:
        raise ValueError("--image and --video: both were given; an image is a video of one frame, use one of them.")
    if last_image and not image:
        raise ValueError("--last-image: needs the first one, too; give --image.")
    if mask and not video:
        raise ValueError("--mask: says what of a video to write anew; give --video.")
    given: dict[str, Any] = {}
    if image:
        pictures = [fit(read_image(path), height, width) for path in (image, last_image) if path]
        given["image"] = np.stack(pictures)
    reads = get_task(task).reads if task else ()
    whole = mask is not None or any(s.modality == "video" and (s.stop is None or s.alone) for s in reads)
    if video:
        stops = [span.stop for span in reads if span.modality == "video" and span.stop]
        count = frames if whole else max(stops) if stops else 9 if audio else prefix_frames
        end = count / settings.fps
        found = read_video(video, fps=settings.fps, height=height, width=width, end=end)
        if len(found) < count:
            remedy = "a longer video" + ("" if whole or stops or audio else " or a smaller --prefix-frames")
            raise ValueError(
                f"{video}: {len(found)} frames at {settings.fps:g} a second, {count} are to be read; give {remedy}."
            )
        given["video"] = found[:count]
    hears = any(span.modality == "audio" for span in reads)
    if audio or (hears and video):
        end = frames / settings.fps
        given["audio"] = read_audio(audio or video, sample_rate=settings.sample_rate, end=end)
    if mask:
        given["mask"] = read_mask(mask, given["video"].shape[:3], settings.fps)
    if structure:
        given["structure"] = read_video(structure, fps=settings.fps, height=height, width=width, num_frames=frames)
    return given


def read_mask(text: str, size: tuple[int, int, int], fps: float) -> np.ndarray | str:
    """A region's name as it is; slices or a file as bool [t h w]: `:,0:64,0:32` of (17, 64, 64) → the left half.

    Raises:
        ValueError: none of the three; slices that are empty or leave the clip; a video shorter than it.
    """
    from videopoet_jax.data.media import PICTURES, read_image, read_video
    from videopoet_jax.data.painting import REGIONS

    if text in REGIONS:
        return text
    parts = [SLICE.fullmatch(part.strip()) for part in text.split(",")]
    if len(parts) == 3 and all(parts):
        mask = np.zeros(size, bool)
        slices = [slice(*(int(n) if n else None for n in part.groups())) for part in parts]
        if any((s.stop or 0) > n or not range(n)[s] for s, n in zip(slices, size, strict=True)):
            raise ValueError(f"--mask {text}: of a clip of {size} nothing, or more than there is; choose others.")
        mask[tuple(slices)] = True
        return mask
    if not Path(text).exists():
        raise ValueError(
            f"--mask {text}: neither a region ({', '.join(REGIONS)}), nor frames,rows,columns such as :,16:48,0:32, "
            f"nor a file; give one of them."
        )
    frames, height, width = size
    if Path(text).suffix.lower() in PICTURES:
        return read_image(text, height=height, width=width).mean(axis=-1) >= 128
    found = read_video(text, fps=fps, height=height, width=width, num_frames=frames)
    if len(found) < frames:
        raise ValueError(f"--mask {text}: {len(found)} frames, the clip has {frames}; give as many, or a picture.")
    return found.mean(axis=-1) >= 128
