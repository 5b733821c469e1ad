"""The features of a data set of TFDS: which may be videos, captions and rates, and what an example holds there."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.data.clip_files import inside, words
from videopoet_jax.data.media import MediaError

# Of each the first that is there.
VIDEO_NAMES = ("video", "frames", "rgb", "rgb_screen", "image_sequence", "image_main", "image")
FILM_NAMES = ("video", "video_bytes", "mp4", "video_path", "path")
CAPTION_NAMES = (
    "caption", "captions", "text", "description", "sentence", "sentences", "narration", "language_instruction",
    "natural_language_instruction", "instruction", "label",
)  # fmt: skip
RATE_NAMES = ("fps", "frame_rate", "framerate")
_LONGEST_PATH = 4096  # of Linux


def leaves_of(features: Any) -> dict[str, str]:
    """Path of every feature that may be of use → "video" (frames), "text", "texts", "label" or "number".

    `{"clip": {"frames": Sequence(Image)}, "label": ClassLabel, "fps": Scalar}  →  clip/frames video, label label, …`
    """
    from tensorflow_datasets import features as kinds

    found: dict[str, str] = {}
    pending = [("", features, 0)]
    while pending:
        path, feature, depth = pending.pop(0)  # in how many sequences it is
        if (isinstance(feature, kinds.Video) and depth == 0) or (isinstance(feature, kinds.Image) and depth == 1):
            found[path] = "video"
        elif isinstance(feature, kinds.Sequence):  # a `Dataset` of steps is one
            pending.append((path, feature.feature, depth + 1))
        elif isinstance(feature, kinds.FeaturesDict):
            pending += [(f"{path}/{key}".lstrip("/"), inner, depth) for key, inner in feature.items()]
        elif isinstance(feature, kinds.ClassLabel):
            found |= {} if depth else {path: "label"}
        elif isinstance(feature, kinds.Tensor):
            kind, rank = np.dtype(feature.np_dtype), depth + len(feature.shape)
            if kind.kind == "O":  # TFDS has text and bytes so
                found[path] = "texts" if rank else "text"
            elif kind == np.uint8 and rank == 4:
                found[path] = "video"
            elif kind.kind in "iuf" and rank == 0:
                found[path] = "number"
    return found


def chosen(name: str, what: str, told: str | None, paths: Iterable[str], names: Iterable[str]) -> str | None:
    """The feature that was told, or the first of a known name."""
    paths = sorted(paths)
    if told is not None:
        if told not in paths:
            raise MediaError(f"{name}: {what}={told}: it has {', '.join(paths) or 'none'}; name one of these.")
        return told
    for known in names:
        for path in paths:
            if path.rsplit("/", 1)[-1] == known:
                return path
    return None


def at(tree: Any, path: str) -> Any:
    """What lies there; of steps, one after another.  `{"steps": [{"a": 1}, {"a": 2}]}, "steps/a" → 1, 2`"""
    if not path:
        return tree
    if not hasattr(tree, "keys"):
        return (at(step, path) for step in tree)
    key, _, rest = path.partition("/")
    return at(tree[key], rest)


def first_text(value: Any) -> str:
    """A text, or the first of several; "" where there is none."""
    while not isinstance(value, bytes):
        value = next(iter(value), b"")
    return value.decode("utf-8", errors="replace").strip()


def as_words(name: str) -> str:
    """A class's name as a caption: `ApplyEyeMakeup, apply_eye-makeup → apply eye makeup`"""
    return name if " " in name else words(re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", name)).lower()


def rate_told(builder: Any, video: str) -> Any:
    """Frames a second of all clips, as the data set says; None where it does not.

    In turn: its feature has `fps` (some versions of TFDS), was made by ffmpeg at a rate, or metadata or config tell it.
    `Video(ffmpeg_extra_args=["-vf", "fps=30,scale=64x64"])  →  30`
    """
    from tensorflow_datasets import features as kinds

    feature = at(builder.info.features, video)
    told = [getattr(feature, "fps", None)]
    if isinstance(feature, kinds.Video):
        arguments = [str(argument) for argument in feature.to_json_content().ffmpeg_extra_args]
        told += [rate for option, rate in zip(arguments, arguments[1:], strict=False) if option == "-r"]
        told += re.findall(r"(?<![a-z])fps=(?:fps=)?([\d./]+)", ",".join(arguments))
    told += [(builder.info.metadata or {}).get(name) for name in RATE_NAMES]
    told += [getattr(builder.builder_config, name, None) for name in RATE_NAMES]
    return next(filter(None, told), None)


@contextlib.contextmanager
def film_file(value: bytes, folders: Sequence[str], where: str) -> Iterator[str]:
    """The file of a film that an example holds: its bytes, in a file for the moment, or the path of one in a folder.

    Raises:
        MediaError: a path that is in none of them. Errors within the block speak of `where`, not of that file.
    """
    if b"\0" not in value and len(value) < _LONGEST_PATH:
        yield _found(os.fsdecode(value), folders, where)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "film")
        Path(path).write_bytes(value)
        try:
            yield path
        except MediaError as error:
            raise MediaError(str(error).replace(path, where)) from error


def _found(path: str, folders: Sequence[str], where: str) -> str:
    for folder in folders:
        if os.path.isabs(path) and not Path(path).is_relative_to(folder):
            continue
        name = inside(Path(folder), os.path.relpath(path, folder) if os.path.isabs(path) else path, where)
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise MediaError(f"{where}: {path}: no file in {folders[0]}; say with ?films=/FOLDER where the films are.")
