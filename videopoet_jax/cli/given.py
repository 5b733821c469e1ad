"""The media options of `generate` and `chain`, and how their files become what a pipeline is given."""

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float, UInt8

FILE = click.Path(path_type=Path)
OPTIONS = (
    click.option("--image", type=FILE, help="The first frame."),
    click.option("--last-image", type=FILE, help="The last one: what comes between is written."),
    click.option("--video", type=FILE, help="A video: to be continued, filled, stylized, heard or described."),
    click.option("--audio", type=FILE, help="A sound, or a video's; by default that of --video."),
    click.option("--mask", help="What of --video to write anew: central, horizontal, vertical, dynamic or "
                 "dynamic_central (which outpainting keeps instead); frames, rows and columns of the model's size, as "
                 "in :,16:48,0:32; or a picture or a video as large as --video that is white there."),
    click.option("--structure", type=FILE, help="Flow and depth as a video; by default the flow in --video."),
)  # fmt: skip
SLICE = re.compile(r"(\d*):(\d*)")
PREFIX = 5  # frames of a video that are gone on from, where nothing says how many
GIVEN = 9  # … where a sound goes with them: what `video_continuation` reads


def media_options(command: Callable) -> Callable:
    """Adds the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def media_files(files: dict[str, Any]) -> tuple[Path, ...]:
    """The files that the options name: none of them may be written over."""
    return tuple(Path(value) for value in files.values() if value)


def warn_plainly() -> None:
    """Warnings as one line, without a place in the code."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)


def read_given(
    settings: Any,
    task: str | None,
    files: dict[str, Any],
    size: Iterable[int | None] = (None, None, None),
    prefix_frames: int | None = None,
) -> dict[str, Any]:
    """What `VideoPoet.generate` takes: `image, video, audio, mask, structure`, those that are there.

    Of a video as many frames are read as the task asks for: all of a clip where it has a hole, 9 where a sound is given
    too, and `prefix_frames` where nothing says more. Its sound is read where the task hears or keeps it.

    Args:
        files: by the options' names; None for those that are not given.
        size: frames, height and width of the clip to be made; None is the model's own.

    Raises:
        ValueError: inputs that do not go together, a video that is too short, a mask that is none.
        FileNotFoundError, MediaError: files that cannot be read.
    """
    from videopoet_jax.data.media import fit, read_image, read_video
    from videopoet_jax.sequence import get_task

    _check_together(task, files, prefix_frames)
    frames, height, width = (own if a is None else a for a, own in zip(size, settings.size, strict=True))
    known, given = get_task(task) if task else None, {}
    if pictures := [files[name] for name in ("image", "last_image") if files[name]]:
        given["image"] = np.stack([fit(read_image(path), height, width) for path in pictures])
    if files["video"] and (count := _frames_to_read(known, files, frames, prefix_frames)):
        given["video"] = _read_frames(settings, known, files, count, height, width)
    if files["mask"]:
        if "video" not in given:
            raise ValueError(f"--mask: task {task} reads no video; leave it out, or name a task that does.")
        given["mask"] = read_mask(files["mask"], files["video"], given["video"].shape[:3], settings.fps)
    if structure := files["structure"]:
        given["structure"] = read_video(structure, fps=settings.fps, height=height, width=width, num_frames=frames)
    sound = _read_sound(settings, known, files, frames)
    return given | ({} if sound is None else {"audio": sound})


def _check_together(task: str | None, files: dict[str, Any], prefix_frames: int | None) -> None:
    """Raises for inputs that do not go together."""
    if (files["image"] or files["last_image"]) and files["video"]:
        raise ValueError("--image and --video: both were given; an image is a video of one frame, use one of them.")
    if files["last_image"] and not files["image"]:
        raise ValueError("--last-image: needs the first one, too; give --image.")
    if files["mask"] and not files["video"]:
        raise ValueError("--mask: says what of a video to write anew; give --video.")
    if prefix_frames and (task or files["mask"] or files["audio"]):
        raise ValueError("--prefix-frames: what is given beside --video says how many frames are read; leave it out.")


def _frames_to_read(task: Any, files: dict[str, Any], frames: int, prefix_frames: int | None) -> int:
    """Of a video, for a clip of so many frames; `task` is None where the inputs are to make it plain."""
    if task is None:
        return frames if files["mask"] else GIVEN if files["audio"] else prefix_frames or PREFIX
    spans = [s for s in task.reads if s.modality == "video" and not (files["structure"] and s.key == "structure")]
    return max((span.frames(frames)[1] for span in spans), default=0)


def _read_frames(
    settings: Any, task: Any, files: dict[str, Any], count: int, height: int, width: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """The first frames of the video; what the task does not write is kept, and so read in its own size."""
    from videopoet_jax.data.media import read_video
    from videopoet_jax.generate.given import writes

    sides = {} if task and not writes(task, "video") else {"height": height, "width": width}
    found = read_video(files["video"], fps=settings.fps, end=count / settings.fps, **sides)
    if len(found) < count:
        fewer = "" if task or files["mask"] or files["audio"] else " or a smaller --prefix-frames"
        raise ValueError(
            f"{files['video']}: {len(found)} frames at {settings.fps:g} a second, {count} are to be read; give a "
            f"longer video{fewer}."
        )
    return found[:count]


def _read_sound(settings: Any, task: Any, files: dict[str, Any], frames: int) -> Float[np.ndarray, " s"] | None:
    """What is given as a sound, or the video's where the task hears it, or keeps it and there is one."""
    from videopoet_jax.data.media import EmptyStream, probe, read_audio
    from videopoet_jax.generate.given import writes

    video, audio = files["video"], files["audio"]
    hears = task is not None and any(span.modality == "audio" for span in task.reads)
    keeps = files["mask"] is not None if task is None else not writes(task, "audio")
    if not (audio or (video and (hears or (keeps and probe(video).has_audio)))):
        return None
    try:
        return read_audio(audio or video, sample_rate=settings.sample_rate, end=frames / settings.fps)
    except EmptyStream:
        if keeps and not audio and not hears:
            return None
        raise


def read_mask(text: str, video: Path, size: tuple[int, int, int], fps: float) -> np.ndarray | str:
    """A region's name as it is; slices or a file as bool [t h w]: `:,0:64,0:32` of (17, 64, 64) → the left half.

    A file is brought to the size as the video was, whose own size it must have.

    Raises:
        ValueError: none of the three; slices that are empty or leave the clip; a file of another size or length.
    """
    from videopoet_jax.data.media import MediaError, probe, read_image, read_video
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
    try:
        own, found = read_image(text).shape[:2], read_image(text, height=height, width=width)[None]
    except MediaError:
        info = probe(text)
        own = (info.height, info.width)
        found = read_video(text, fps=fps, height=height, width=width, num_frames=frames)
        if len(found) < frames:
            raise ValueError(
                f"--mask {text}: {len(found)} frames, the clip has {frames}; give as many, or a picture."
            ) from None
    of_video = probe(video)
    if own != (of_video.height, of_video.width):
        raise ValueError(
            f"--mask {text}: {own[0]}×{own[1]}, and --video {of_video.height}×{of_video.width}; make it as large."
        )
    white = found.mean(axis=-1) >= 128
    return white[0] if len(white) == 1 else white
