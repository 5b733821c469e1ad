"""The features of a data set of TFDS: which may be videos and captions, by type and name; classes as words."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from videopoet_jax.data.clip_files import words
from videopoet_jax.data.media import MediaError

VIDEO_NAMES = ("video", "frames", "rgb", "rgb_screen", "image_sequence", "image_main")  # the first that is there
CAPTION_NAMES = ("caption", "captions", "text", "description", "sentence", "sentences", "narration", "label")


def leaves_of(features: Any) -> dict[str, str]:
    """Path of every feature that may be a video or a caption → "video", "text" or "label".

    `{"clip": {"frames": Sequence(Image)}, "label": ClassLabel, "n": Scalar}  →  clip/frames video, label label`
    """
    from tensorflow_datasets import features as kinds

    found: dict[str, str] = {}
    pending = [("", features, False)]
    while pending:
        path, feature, repeated = pending.pop(0)
        if isinstance(feature, kinds.Video) or (repeated and isinstance(feature, kinds.Image)):
            found[path] = "video"
        elif isinstance(feature, kinds.Sequence):
            pending.append((path, feature.feature, True))
        elif isinstance(feature, kinds.FeaturesDict):
            pending += [(f"{path}/{key}".lstrip("/"), inner, repeated) for key, inner in feature.items()]
        elif isinstance(feature, kinds.ClassLabel):
            found |= {} if repeated else {path: "label"}
        elif isinstance(feature, kinds.Tensor) and np.dtype(feature.np_dtype) == object:  # TFDS has text so
            found[path] = "text"
    return found


def chosen(name: str, what: str, told: str | None, paths: Iterable[str], names: Iterable[str]) -> str | None:
    """The feature that was told, or the first of a known name, or, of videos, the only one."""
    paths = sorted(paths)
    if told is not None:
        if told not in paths:
            raise MediaError(f"{name}: {what}={told}: it has {', '.join(paths) or 'none'}; name one of these.")
        return told
    for known in names:
        for path in paths:
            if path.rsplit("/", 1)[-1] == known:
                return path
    return paths[0] if what == "video" and len(paths) == 1 else None


def at(tree: Any, path: str) -> Any:
    for key in path.split("/"):
        tree = tree[key]
    return tree


def as_words(name: str) -> str:
    """A class's name as a caption: `ApplyEyeMakeup, apply_eye-makeup → apply eye makeup`"""
    return name if " " in name else words(re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", name)).lower()
