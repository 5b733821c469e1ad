"""The clips and the sounds that a config's `data` names."""

import functools
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.cli.configuration import require
from videopoet_jax.data.media import fit

CLIP_FRAMES = 17  # of moving_digits: the pictures of an image stage are taken out of clips this long


def clips(config: ConfigDict, split: str, *, size: int | None = None, structure: bool = False):
    """The random-access source that a config's `data` names.

    Args:
        split: "train" or the held-out part.
        size: examples of moving_digits, instead of the config's.
        structure: whether clips come with the flow and depth that are known of them, those of moving_digits.

    Clips to train on are `data.zoom` times as large as the model's, for `augmentation` to choose a part of; those of
    the held-out part have the model's size.
    """
    from videopoet_jax.data.sources import HELD_OUT_FRAMES, MovingDigits

    data = require(config, "data.zoom").data
    if data.zoom < 1:
        raise ValueError(f"data.zoom {data.zoom}: at least 1, the picture as large as the model's, is needed.")
    height, width = round(data.height * data.zoom), round(data.width * data.zoom)
    if data.source == "moving_digits":
        digits = MovingDigits(
            split if split == "train" else "validation",
            levels=tuple(data.levels),
            size=size or data.size,
            num_frames=CLIP_FRAMES if data.num_frames == 1 else data.num_frames,
            height=height,
            width=width,
            seed=config.seed,
            pictures=data.num_frames == 1,
            structure=structure,
        )
        return digits if split == "train" else Fitted(digits, data.height, data.width)
    if data.source == "folder":
        if not data.root:
            raise ValueError("data.root: empty; name the folder of your videos with --set data.root=DIRECTORY.")
        folder = _folder(data.root, data.num_frames, data.fps, height, width, data.sample_rate)
        if split == "train":
            return folder
        # What is held out of a short clip is no longer than this.
        held_out = folder.with_split("held_out", num_frames=min(data.num_frames, HELD_OUT_FRAMES))
        return Fitted(held_out, data.height, data.width)
    raise ValueError(f"data.source {data.source!r}: unknown; use moving_digits or folder.")


def sounds(config: ConfigDict, split: str, *, size: int | None = None):
    """The same for a model of sound: of a folder every file that has some, decoded without its pictures."""
    data = require(config, "data.source", "data.root", "data.crop", "data.window", "data.fps").data
    if data.source != "folder":
        return clips(config, split, size=size)
    if not data.root:
        raise ValueError("data.root: empty; name the folder of your sounds with --set data.root=DIRECTORY.")
    if data.window < data.crop:
        raise ValueError(f"data.window {data.window:,}: at least data.crop, {data.crop:,} samples, is needed.")
    return _sounds(data.root, data.crop, data.window, data.sample_rate, data.fps).with_split(split)


def augmentation(config: ConfigDict) -> Callable | None:
    """The random transform that a config's `data` asks for; None where every clip is taken as it is."""
    from videopoet_jax.data.augment import make_augment

    data = require(config, "data.zoom", "data.widest", "data.mirror", "data.tint").data
    if data.zoom == 1 and not data.mirror and not data.tint:
        return None
    return make_augment(height=data.height, width=data.width, widest=data.widest, mirror=data.mirror, tint=data.tint)


class Fitted:
    """A source whose pictures are brought to a size."""

    def __init__(self, source, height: int, width: int) -> None:
        self.source, self.height, self.width = source, height, width

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        example = self.source[index]
        return {**example, "video": np.stack([fit(frame, self.height, self.width) for frame in example["video"]])}


@functools.lru_cache(maxsize=1)
def _folder(root: str, num_frames: int, fps: float, height: int, width: int, sample_rate: int):
    """A folder's clips, decoded once a process."""
    from videopoet_jax.data.sources import ClipFolder

    return ClipFolder(
        root, num_frames=num_frames, fps=fps, height=height, width=width, sample_rate=sample_rate, split="train"
    )


@functools.lru_cache(maxsize=1)
def _sounds(root: str, crop: int, window: int, sample_rate: int, fps: float):
    """A folder's sounds, decoded once a process."""
    from videopoet_jax.data.sound_folder import SoundFolder

    return SoundFolder(root, shortest=crop, longest=window, sample_rate=sample_rate, fps=fps, split="train")
