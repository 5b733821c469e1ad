"""The clips that a config's `data` names."""

import functools
from collections.abc import Callable

from ml_collections import ConfigDict

CLIP_FRAMES = 17  # of moving_digits: the pictures of an image stage are taken out of clips this long


def clips(config: ConfigDict, split: str, *, size: int | None = None, sound: bool = False):
    """The random-access source that a config's `data` names.

    Args:
        split: "train" or the held-out part.
        size: examples of moving_digits, instead of the config's.
        sound: only of clips that have sound.

    Clips to train on are `data.zoom` times as large as the model's, for `augmentation` to choose a part of.
    """
    from videopoet_jax.data.sources import MovingDigits

    data = config.data
    zoom = data.zoom if split == "train" else 1.0
    height, width = round(data.height * zoom), round(data.width * zoom)
    if data.source == "moving_digits":
        return MovingDigits(
            split if split == "train" else "validation",
            levels=tuple(data.levels),
            size=size or data.size,
            num_frames=CLIP_FRAMES if data.num_frames == 1 else data.num_frames,
            height=height,
            width=width,
            seed=config.seed,
            pictures=data.num_frames == 1,
        )
    if data.source == "folder":
        if not data.root:
            raise ValueError("data.root: empty; name the folder of your videos with --set data.root=DIRECTORY.")
        folder = _folder(data.root, data.num_frames, data.fps, height, width, data.sample_rate)
        folder = folder.with_split("train" if split == "train" else "held_out")
        return folder.with_sound() if sound else folder
    raise ValueError(f"data.source {data.source!r}: unknown; use moving_digits or folder.")


def augmentation(config: ConfigDict) -> Callable | None:
    """The random transform that a config's `data` asks for; None where every clip is taken as it is."""
    from videopoet_jax.data.augment import make_augment

    data = config.data
    if data.zoom == 1 and not data.mirror and not data.tint:
        return None
    return make_augment(height=data.height, width=data.width, mirror=data.mirror, tint=data.tint)


@functools.lru_cache(maxsize=2)  # of both splits: clips to train on may be larger
def _folder(root: str, num_frames: int, fps: float, height: int, width: int, sample_rate: int):
    """A folder's clips, decoded once a process."""
    from videopoet_jax.data.sources import ClipFolder

    return ClipFolder(
        root, num_frames=num_frames, fps=fps, height=height, width=width, sample_rate=sample_rate, split="train"
    )
