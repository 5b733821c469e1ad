"""Data sets of TensorFlow Datasets by name → their clips, each by its number, as the examples that `sources` documents.

    tfds:ucf101    tfds:ucf101:test    tfds:my_dataset/config:1.0.0:test@/data_dir
    tfds:my_dataset@/data_dir?split=train[:10%]&fps=25&video=clip/frames&caption=narration

    addresses("tfds:ucf101:test")          tfds:ucf101?split=test#0  tfds:ucf101?split=test#1 …
    windows("tfds:ucf101?split=test#1", …)     the windows of clip 1, and nothing before its file is read

Which feature is the video and which the caption is found by type and name, or told as above. TFDS keeps neither the
rate of a video nor its sound: `fps` tells the one, and the examples are silent. TensorFlow is imported when a data set
is opened (extra `data`).
"""

import contextlib
import functools
import logging
import operator
import os
import re
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.item_windows import check_windows, example, stretch, windowed
from videopoet_jax.data.media import MAX_FPS, MediaError, Number, fit, retime
from videopoet_jax.data.tfds_features import CAPTION_NAMES, VIDEO_NAMES, as_words, at, chosen, leaves_of

_NAME = re.compile(
    r"tfds:(?P<builder>\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?)(:(?P<split>[a-zA-Z_][^@?]*))?(@(?P<data_dir>[^?]+))?"
    r"(\?(?P<options>.*))?"
)
_OPTIONS = ("split", "fps", "video", "caption")
_RATES = {"ucf101": 25, "something_something_v2": 12, "ssv2": 12}  # frames a second, as their papers say
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
    """`tfds:a/b:test@/c?fps=25, tfds:a/b@/c?split=test&fps=25  →  TfdsName("a/b", "/c", "test", 25, None, None)`

    Raises:
        MediaError: not such a name.
    """
    found = _NAME.fullmatch(name)
    # no decoding of % and +: they are TFDS's own, as in split=train[:10%]+test
    pairs = found["options"].split("&") if found and found["options"] else []
    options = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    if not found or not set(options) <= set(_OPTIONS) or (found["split"] and "split" in options):
        raise MediaError(
            f"{name}: no name of a data set; tfds:NAME/CONFIG:1.0.0:SPLIT@/data_dir is one, with any of "
            f"{', '.join(_OPTIONS)} behind a question mark: ?fps=25&video=frames."
        )
    fps = None
    if "fps" in options:
        with contextlib.suppress(ValueError, ZeroDivisionError):
            fps = Fraction(options["fps"])
        if fps is None or not 0 < fps <= MAX_FPS:
            raise MediaError(f"{name}: fps={options['fps']}: above 0 and at most {MAX_FPS} frames a second are needed.")
    split = found["split"] or options.get("split", "train")
    return TfdsName(found["builder"], found["data_dir"], split, fps, options.get("video"), options.get("caption"))


def addresses(name: str) -> Iterator[str]:
    """Of all clips of a data set, in the order in which it is stored; they hold wherever a worker is started.

    Raises:
        MediaError: at once: TFDS is not installed, or has no such data set, split or features, or has not prepared it.
    """
    parts, clips = parse(name), len(opened(name))
    if parts.data_dir is not None and "://" not in parts.data_dir:
        parts = parts._replace(data_dir=os.path.abspath(parts.data_dir))
    told = {key: value for key, value in parts._asdict().items() if key in _OPTIONS and value is not None}
    where = "" if parts.data_dir is None else f"@{parts.data_dir}"
    whole = f"tfds:{parts.builder}{where}?{'&'.join(f'{key}={value}' for key, value in told.items())}"
    return (f"{whole}#{number}" for number in range(clips))


def windows(address: str, **sizes: Any) -> Iterator[dict[str, Any]]:
    """The windows of the clip at an address; `sizes` as in `items.decode`."""
    name, _, number = address.rpartition("#")
    return opened(name).windows(int(number), **sizes)


@functools.lru_cache(maxsize=2)
def opened(name: str) -> "TfdsClips":
    """The data set of a name, opened once a process."""
    return TfdsClips(name)


class TfdsClips:
    """The clips of a prepared data set, by number, in the order in which it is stored.

    A clip's id is TFDS's own (`ucf101-train.tfrecord-00000-of-00032__12`). Of several captions the first is taken; a
    class becomes words (`ApplyEyeMakeup → apply eye makeup`). A clip is decoded whole, as TFDS stores it. Without `fps`
    in the name, and unknown here, frames count as being at the rate that is asked for.

    Raises:
        MediaError: as `addresses`.
    """

    def __init__(self, name: str):
        self.name, parts = name, parse(name)
        self._builder = _prepared(name, parts)
        self._parts = _parts(name, self._builder, parts.split)
        leaves = leaves_of(self._builder.info.features)
        videos = [path for path, kind in leaves.items() if kind == "video"]
        captions = [path for path, kind in leaves.items() if kind in ("text", "label")]
        self.video = chosen(name, "video", parts.video, videos, VIDEO_NAMES)
        if self.video is None:
            raise MediaError(
                f"{name}: videos in it: {', '.join(videos) or 'none'}; name one with ?video=, or another data set."
            )
        self.caption = chosen(name, "caption", parts.caption, captions, CAPTION_NAMES)
        self._classes = self.caption is not None and leaves[self.caption] == "label"
        self.stored_fps = parts.fps or _RATES.get(self._builder.name)
        if self.stored_fps is None:
            _LOG.warning("%s: its frames count as being at the rate asked for; say otherwise with ?fps=25.", name)
        self._reading = threading.local()

    def __len__(self) -> int:
        return sum(part.stop - part.first for part in self._parts)

    def __repr__(self) -> str:
        return f"TfdsClips({self.name!r}, {len(self)} clips, video {self.video}, caption {self.caption})"

    def windows(
        self,
        number: int,
        *,
        fps: Number,
        height: int,
        width: int,
        num_frames: int,
        sample_rate: int,
        stride: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The windows of a clip, as those of `items.decode`.

        Raises:
            MediaError: no such clip, or it is damaged, or too short for a window.
        """
        stride, fps = check_windows(num_frames, stride), Fraction(fps)
        clip, stored_fps = self._clip(number), Fraction(self.stored_fps or fps)
        source, caption = clip["tfds_id"].decode(), self._said(clip)
        times = ((i / stored_fps, frame) for i, frame in enumerate(at(clip, self.video)))
        shown = retime(times, fps=fps, last=1 / stored_fps)
        fitted = (fit(_rgb(frame, self.name), height, width) for frame in shown)
        what = f"{self.name}#{number} ({source} at {float(fps):g} frames a second)"
        for window in windowed(fitted, num_frames=num_frames, stride=stride, what=what):
            name = source + stretch(window.first / fps, (window.first + num_frames) / fps)
            samples = round(num_frames * sample_rate / fps)
            yield example(window.video, samples, has_audio=False, caption=caption, name=name, source=source)

    def _clip(self, number: int) -> dict[str, Any]:
        """What TFDS stores. In turn, clips are read one after another; any other one from the beginning of its file."""
        from tensorflow.errors import OpError

        if not 0 <= number < len(self):
            raise MediaError(f"{self.name}: clip {number}: there are {len(self)}, numbered from 0.")
        reading = self._reading
        try:
            if getattr(reading, "next", None) != number:
                reading.clips = self._from(number)
            reading.next = None  # unless what follows succeeds
            clip = next(reading.clips)
        except OpError as error:
            reason = " ".join(str(error.message).split())[:160]
            raise MediaError(f"{self.name}: clip {number} is damaged ({reason}); prepare it again.") from error
        reading.next = number + 1
        return clip

    def _from(self, number: int) -> Iterator[dict[str, Any]]:
        import tensorflow_datasets as tfds

        rest = []
        for part in self._parts:
            first = min(part.stop, part.first + number)
            number -= first - part.first
            if first < part.stop:
                rest.append(tfds.core.ReadInstruction(part.split, from_=first, to=part.stop, unit="abs"))
        config = tfds.ReadConfig(
            add_tfds_id=True, interleave_cycle_length=1, try_autocache=False, skip_prefetch=True
        )  # so that clips come in one order, and few are held
        split = functools.reduce(operator.add, rest)
        return iter(tfds.as_numpy(self._builder.as_dataset(split=split, read_config=config, shuffle_files=False)))

    def _said(self, clip: dict[str, Any]) -> str:
        if self.caption is None:
            return ""
        value = at(clip, self.caption)
        if self._classes:
            feature = at(self._builder.info.features, self.caption)
            return as_words(feature.int2str(int(value))) if value >= 0 else ""  # -1: TFDS's "not told"
        value = value if isinstance(value, bytes) else next(iter(value), b"")
        return value.decode("utf-8", errors="replace").strip()


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


class _Part(NamedTuple):
    """Clips `first` to before `stop` of a split."""

    split: str
    first: int
    stop: int


def _parts(name: str, builder: Any, split: str) -> list[_Part]:
    """`train[:50%]+test → _Part("train", 0, 2) _Part("test", 0, 4)`, of four clips each"""
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    try:
        told = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
        return [
            _Part(p.splitname, p.from_ or 0, splits[p.splitname].num_examples if p.to is None else p.to) for p in told
        ]
    except (KeyError, ValueError, NotImplementedError) as error:
        raise MediaError(f"{name}: split {split!r}: its splits are {', '.join(splits)}; name one of them.") from error


def _rgb(frame: np.ndarray, name: str) -> np.ndarray:
    """uint8 [h w 3] of what TFDS gives, which may be grey."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise MediaError(f"{name}: frames {frame.dtype}{list(frame.shape)}: uint8 [h w 3] or [h w 1] is needed.")
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
