"""Data sets of TensorFlow Datasets by name → the examples that `sources` documents, clip after clip.

    tfds:ucf101
    tfds:my_dataset/config:1.0.0@/data_dir?split=train&fps=25&video=clip/frames&caption=narration

Which feature is the video and which the caption is found by type and name, or told as above. TFDS keeps neither the
rate of a video nor its sound: `fps` tells the one, and the examples are silent. TensorFlow is imported when a source is
made (extra `data`).
"""

import contextlib
import logging
import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.clip_files import words
from videopoet_jax.data.item_windows import check_windows, example, stretch, windowed
from videopoet_jax.data.media import MAX_FPS, MediaError, Number, fit, retime

_NAME = re.compile(r"tfds:(?P<builder>\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?)(@(?P<data_dir>[^?]+))?(\?(?P<options>.*))?")
_OPTIONS = ("split", "fps", "video", "caption")
_RATES = {"ucf101": 25, "something_something_v2": 12, "ssv2": 12}  # frames a second, as their papers say
_VIDEO_NAMES = ("video", "frames", "rgb", "rgb_screen", "image_sequence", "image_main")  # the first that is there
_CAPTION_NAMES = ("caption", "captions", "text", "description", "sentence", "sentences", "narration", "label")
_LOG = logging.getLogger(__name__)


class TfdsName(NamedTuple):
    """A data set's name in parts; None is what it does not say."""

    builder: str
    data_dir: str | None
    split: str
    fps: Fraction | None
    video: str | None
    caption: str | None


def parse(name: str) -> TfdsName:
    """`tfds:a/b@/c?split=test&fps=25  →  TfdsName("a/b", "/c", "test", 25, None, None)`

    Raises:
        MediaError: not such a name.
    """
    found = _NAME.fullmatch(name)
    # no decoding of % and +: they are TFDS's own, as in split=train[:10%]+test
    pairs = found["options"].split("&") if found and found["options"] else []
    options = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    if not found or not set(options) <= set(_OPTIONS):
        raise MediaError(
            f"{name}: no name of a data set; tfds:NAME/CONFIG:1.0.0@/data_dir?split=train is one, with any of "
            f"{', '.join(_OPTIONS)} behind the question mark."
        )
    fps = None
    if "fps" in options:
        with contextlib.suppress(ValueError, ZeroDivisionError):
            fps = Fraction(options["fps"])
        if fps is None or not 0 < fps <= MAX_FPS:
            raise MediaError(f"{name}: fps={options['fps']}: above 0 and at most {MAX_FPS} frames a second are needed.")
    split = options.get("split", "train")
    return TfdsName(found["builder"], found["data_dir"], split, fps, options.get("video"), options.get("caption"))


class TfdsSource:
    """The windows of a prepared data set's clips, in the order in which it is stored.

    A clip's id is TFDS's own (`ucf101-train.tfrecord-00000-of-00032__12`). Of several captions the first is taken; a
    class becomes words (`ApplyEyeMakeup → apply eye makeup`). Clips too short for a window are left out, and counted
    in one logged line. A clip is decoded whole, as TFDS stores it; a few are in memory at a time.

    Args:
        name: see `parse`. Without `fps` in it, and unknown here, frames count as being at the rate asked for.
        fps, height, width, num_frames, sample_rate, stride: as in `items.decode`.

    Raises:
        MediaError: TFDS is not installed, or has no such data set, split or features, or has not prepared it.
    """

    def __init__(
        self,
        name: str,
        *,
        fps: Number,
        height: int,
        width: int,
        num_frames: int,
        sample_rate: int,
        stride: int | None = None,
    ):
        self.name, self.stride = name, check_windows(num_frames, stride)
        self.fps, self.height, self.width, self.num_frames = Fraction(fps), height, width, num_frames
        self.samples = round(num_frames * sample_rate / fps)
        parts = parse(name)
        self._builder = _prepared(name, parts)
        self._split = parts.split
        try:
            self._clips = int(self._builder.info.splits[parts.split].num_examples)
        except (KeyError, ValueError) as error:
            known = ", ".join(self._builder.info.splits)
            raise MediaError(f"{name}: split {parts.split!r}: its splits are {known}; name one of them.") from error
        leaves = _leaves(self._builder.info.features)
        videos = [path for path, kind in leaves.items() if kind == "video"]
        captions = [path for path, kind in leaves.items() if kind in ("text", "label")]
        self.video = _chosen(name, "video", parts.video, videos, _VIDEO_NAMES)
        if self.video is None:
            raise MediaError(
                f"{name}: videos in it: {', '.join(videos) or 'none'}; name one with ?video=, or another data set."
            )
        self.caption = _chosen(name, "caption", parts.caption, captions, _CAPTION_NAMES)
        self._classes = self.caption is not None and leaves[self.caption] == "label"
        self.stored_fps = parts.fps or Fraction(_RATES.get(self._builder.name, fps))
        if parts.fps is None and self._builder.name not in _RATES:
            _LOG.warning("%s: its frames count as %g a second; say otherwise with ?fps=25.", name, float(fps))

    def __len__(self) -> int:
        """Of clips, not of windows."""
        return self._clips

    def __repr__(self) -> str:
        return f"TfdsSource({self.name!r}, {self._clips} clips, video {self.video}, caption {self.caption})"

    def examples(self, piece: int = 0, pieces: int = 1) -> Iterator[dict[str, Any]]:
        """The windows of one of so many equal pieces of the clips: pieces 0 to n - 1 of n give every clip once."""
        import tensorflow_datasets as tfds

        if not 0 <= piece < pieces:
            raise MediaError(f"piece {piece} of {pieces}: pieces are numbered from 0; choose a smaller one.")
        if piece >= self._clips:  # more pieces than clips: TFDS fills the first, and refuses to read of none
            return
        config = tfds.ReadConfig(
            add_tfds_id=True, interleave_cycle_length=1, try_autocache=False, skip_prefetch=True
        )  # so that clips come in one order, and few are held
        split = tfds.even_splits(self._split, n=pieces)[piece]
        short = 0
        for clip in tfds.as_numpy(self._builder.as_dataset(split=split, read_config=config, shuffle_files=False)):
            if math.ceil(len(_at(clip, self.video)) * self.fps / self.stored_fps) < self.num_frames:
                short += 1
                continue
            yield from self._windows(clip)
        if short:
            _LOG.warning("%s: left out: %d clips of fewer than %d frames.", self.name, short, self.num_frames)

    def _windows(self, clip: dict[str, Any]) -> Iterator[dict[str, Any]]:
        source, caption = clip["tfds_id"].decode(), self._said(clip)
        times = ((i / self.stored_fps, frame) for i, frame in enumerate(_at(clip, self.video)))
        shown = retime(times, fps=self.fps, last=1 / self.stored_fps)
        fitted = (fit(_rgb(frame, self.name), self.height, self.width) for frame in shown)
        for window in windowed(fitted, num_frames=self.num_frames, stride=self.stride, what=source):
            place = stretch(window.first / self.fps, (window.first + self.num_frames) / self.fps)
            yield example(
                window.video, self.samples, has_audio=False, caption=caption, name=source + place, source=source
            )

    def _said(self, clip: dict[str, Any]) -> str:
        if self.caption is None:
            return ""
        value = _at(clip, self.caption)
        if self._classes:
            feature = _at(self._builder.info.features, self.caption)
            return as_words(feature.int2str(int(value))) if value >= 0 else ""  # -1: TFDS's "not told"
        value = value if isinstance(value, bytes) else next(iter(value), b"")
        return value.decode("utf-8", errors="replace").strip()


def as_words(name: str) -> str:
    """A class's name as a caption: `ApplyEyeMakeup, apply_eye-makeup → apply eye makeup`"""
    return name if " " in name else words(re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", name)).lower()


def _prepared(name: str, parts: TfdsName) -> Any:
    """TFDS's builder, its data there; nothing is downloaded."""
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MediaError(f"{name}: TFDS is not installed; pip install 'videopoet_jax[data]'.") from error
    with contextlib.suppress(RuntimeError):  # of a TensorFlow that is in use already
        tf.config.set_visible_devices([], "GPU")  # it would take the memory that JAX needs
    try:
        builder = tfds.builder(parts.builder, data_dir=parts.data_dir)
    except (ValueError, AssertionError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MediaError(
            f"{name}: TFDS has no such data set ({reason}); check its name, config and version."
        ) from error
    if not builder.info.splits:
        remedy = f"run `tfds build {parts.builder}`, or name its folder behind @"
        raise MediaError(f"{name}: not prepared in {builder.data_dir}; {remedy}.")
    return builder


def _leaves(features: Any) -> dict[str, str]:
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


def _chosen(name: str, what: str, told: str | None, paths: Iterable[str], names: Iterable[str]) -> str | None:
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


def _at(tree: Any, path: str) -> Any:
    for key in path.split("/"):
        tree = tree[key]
    return tree


def _rgb(frame: np.ndarray, name: str) -> np.ndarray:
    """uint8 [h w 3] of what TFDS gives, which may be grey."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise MediaError(f"{name}: frames {frame.dtype}{list(frame.shape)}: uint8 [h w 3] or [h w 1] is needed.")
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
