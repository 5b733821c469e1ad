"""Data sets of TensorFlow Datasets by name → their clips, each by its number, as the examples that `sources` documents.

    addresses("tfds:ucf101:test")              tfds:ucf101?split=test#0  tfds:ucf101?split=test#1 …
    windows("tfds:ucf101?split=test#1", …)     the windows of clip 1, and nothing before its file is read

What names say is in `tfds_name`. Which feature is the video and which the caption is found by type and name, or told.
A video is frames, which are silent, and whose rate `?fps=`, the data set or a paper tells; so are the steps of an
episode (RLDS). Or it is the bytes or the path of a film, which has a rate and sound of its own.
"""

import functools
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from videopoet_jax.data.film_windows import film_windows
from videopoet_jax.data.item_windows import check_windows, example, stretch, windowed
from videopoet_jax.data.media import MediaError, Number, fit, retime
from videopoet_jax.data.tfds_features import (
    CAPTION_NAMES,
    FILM_NAMES,
    RATE_NAMES,
    VIDEO_NAMES,
    as_words,
    at,
    chosen,
    film_file,
    first_text,
    leaves_of,
    rate_told,
)
from videopoet_jax.data.tfds_name import TfdsName, builder_of, parse, rate_of
from videopoet_jax.data.tfds_reading import Clips

# Frames a second, as the papers say; WebVid's as its builder makes them.
_RATES = {"ucf101": 25, "something_something_v2": 12, "ssv2": 12, "webvid": 30}
_LOG = logging.getLogger(__name__)


def addresses(name: str) -> Iterator[str]:
    """Of all clips of a data set, in the order in which it is stored; they hold wherever a worker is started.

    Raises:
        MediaError: at once: TFDS is not installed, or has no such data set, split or features, or has not prepared it.
    """
    whole, clips = str(parse(name)), opened(name)
    if not (clips.is_film or clips.rate or clips.rates):
        _warn_once(f"{name}: its frames count as being at the rate asked for; say otherwise with ?fps=25.")
    if clips.caption is None:
        _warn_once(f"{name}: no captions are known in it; ?caption= names a feature that has them.")
    return (f"{whole}#{number}" for number in range(len(clips)))


@functools.cache
def _warn_once(words: str) -> None:
    """Its clips may be counted first and placed after that."""
    _LOG.warning("%s", words)


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
    class becomes words (`ApplyEyeMakeup → apply eye makeup`). Frames are decoded whole, as TFDS stores them. Without
    a rate they count as being at the rate that is asked for.

    Raises:
        MediaError: as `addresses`.
    """

    def __init__(self, name: str):
        self.name, parts = name, parse(name)
        self._builder = builder_of(name, parts)
        self._clips = Clips(name, self._builder, parts.split)
        leaves = leaves_of(self._builder.info.features)
        self._features(parts, {kind: [path for path in leaves if leaves[path] == kind] for kind in leaves.values()})
        self.is_film, self._is_class = leaves[self.video] == "text", leaves.get(self.caption) == "label"
        if self.is_film and parts.fps is not None:
            raise MediaError(f"{name}: fps={parts.fps}: its films have rates of their own; leave it out.")
        told = None if self.is_film or parts.fps else rate_told(self._builder, self.video)
        self.rate = parts.fps or (told and rate_of(told, name)) or _RATES.get(self._builder.name)
        # Films that are named by their paths lie in the folder that holds all data sets, or where TFDS has downloads.
        root = str(self._builder.data_dir).removesuffix(self._builder.info.full_name).rstrip("/")
        self._films = [parts.films] if parts.films else [root, os.path.join(root, "downloads", "manual")]

    def _features(self, parts: TfdsName, paths: dict[str, list[str]]) -> None:
        """Finds `video`, `caption` and `rates`."""
        name, frames = self.name, paths.get("video", [])
        texts, labels, numbers = paths.get("text", []), paths.get("label", []), paths.get("number", [])
        self.video = (
            chosen(name, "video", parts.video, [*frames, *texts], [])
            or chosen(name, "video", None, frames, VIDEO_NAMES)
            or (frames[0] if len(frames) == 1 else chosen(name, "video", None, texts, FILM_NAMES))
        )
        if self.video is None:
            raise MediaError(
                f"{name}: videos in it: {', '.join(frames) or 'none'}; name one with ?video=, or another data set."
            )
        texts = sorted({*texts, *paths.get("texts", []), *labels} - {self.video})
        self.caption = chosen(name, "caption", parts.caption, texts, CAPTION_NAMES)
        if self.caption is None and len(labels) == 1:
            self.caption = labels[0]
        self.rates = None if parts.fps else chosen(name, "fps", None, numbers, RATE_NAMES)

    def __len__(self) -> int:
        return len(self._clips)

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
        stride, clip, what = check_windows(num_frames, stride), self._clips[number], f"{self.name}#{number}"
        sizes = {"fps": Fraction(fps), "height": height, "width": width, "num_frames": num_frames,
                 "sample_rate": sample_rate, "stride": stride}  # fmt: skip
        with self._clips.damage_told(number):
            source, caption = clip["tfds_id"].decode(), self._said(clip)
            if self.is_film:
                with film_file(at(clip, self.video), self._films, what) as path:
                    yield from film_windows(path, source=source, caption=caption, **sizes)
            else:
                yield from self._of_frames(clip, what, source, caption, **sizes)

    def _of_frames(self, clip, what, source, caption, *, fps, height, width, num_frames, sample_rate, stride):
        rate = rate_of(at(clip, self.rates), what) if self.rates else Fraction(self.rate or fps)
        times = ((i / rate, frame) for i, frame in enumerate(at(clip, self.video)))
        fitted = (fit(_rgb(frame, what), height, width) for frame in retime(times, fps=fps, last=1 / rate))
        what, samples = f"{what} ({source} at {float(fps):g} frames a second)", round(num_frames * sample_rate / fps)
        for window in windowed(fitted, num_frames=num_frames, stride=stride, what=what):
            name = source + stretch(window.first / fps, (window.first + num_frames) / fps)
            yield example(window.video, samples, has_audio=False, caption=caption, name=name, source=source)

    def _said(self, clip: dict[str, Any]) -> str:
        if self.caption is None:
            return ""
        value = at(clip, self.caption)
        if not self._is_class:
            return first_text(value)
        feature = at(self._builder.info.features, self.caption)
        return as_words(feature.int2str(int(value))) if value >= 0 else ""  # -1: TFDS's "not told"


def _rgb(frame: np.ndarray, name: str) -> np.ndarray:
    """uint8 [h w 3] of what TFDS gives, which may be grey."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise MediaError(f"{name}: frames {frame.dtype}{list(frame.shape)}: uint8 [h w 3] or [h w 1] is needed.")
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
