"""The ways in which a clip is shown to the tokenizer: what a task's spans name by their `key`.

    video         uint8 [t h w 3]   the clip itself
    last_frame    uint8 [1 h w 3]   its last frame as a picture
    inpainting    uint8 [t h w 3]   the clip with a region of painting.REGIONS taken away
    outpainting   uint8 [t h w 3]   … with all but one taken away
    editing       uint8 [t h w 3]   … with a box of time and space taken away
    structure     uint8 [t h w 3]   its flow and depth (structure.py)

An example is a dict with `video`, and `flow`, `depth` where they are known or were found by a network; `rng` decides
what is drawn, so a clip has the same hole in every run. A view of your own is a function in a module that your package
names as an entry point of `videopoet_jax.tasks`, where its task is too: `register_view("mine", make)`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from videopoet_jax.data import painting
from videopoet_jax.data.structure import dis_flow, to_picture
from videopoet_jax.sequence import load_plugins

Example = Mapping[str, Any]
View = Callable[[Example, np.random.Generator], UInt8[np.ndarray, "t h w 3"]]


def _inpainting(example: Example, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    video = example["video"]
    return painting.paint(video, painting.inpainting(rng.choice(painting.REGIONS), *video.shape[:3]))


def _outpainting(example: Example, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    video = example["video"]
    return painting.paint(video, painting.outpainting(rng.choice(painting.REGIONS), *video.shape[:3]))


def _editing(example: Example, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    video = example["video"]
    return painting.paint(video, painting.box(*video.shape[:3], rng))


def _structure(example: Example, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    flow = example["flow"] if "flow" in example else dis_flow(example["video"])
    return to_picture(flow, example.get("depth"))


VIEWS: dict[str, View] = {
    "video": lambda example, rng: example["video"],
    "last_frame": lambda example, rng: example["video"][-1:],
    "inpainting": _inpainting,
    "outpainting": _outpainting,
    "editing": _editing,
    "structure": _structure,
}


def register_view(key: str, make: View) -> None:
    """Makes a view known by its key; the same one may be registered again.

    Raises:
        ValueError: another view has the key.
    """
    if VIEWS.setdefault(key, make) is not make:
        raise ValueError(f"view {key!r}: another one has this key already; give yours one of its own.")


def check(keys: Iterable[str]) -> None:
    """
    Raises:
        ValueError: a key that stands for no view, a user's own neither.
    """
    keys = set(keys)
    if not keys <= set(VIEWS):
        load_plugins()
    if unknown := sorted(keys - set(VIEWS)):
        raise ValueError(f"view {unknown[0]!r}: unknown; use {', '.join(VIEWS)}, or register one of your own.")


def views_of(example: Example, keys: Iterable[str], seed: tuple[int, ...]) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """Every view that is asked for; each draws from a generator of its own, so that one more changes no other.

    Raises:
        ValueError: a key that stands for no view.
    """
    keys = list(keys)
    check(keys)
    return {key: VIEWS[key](example, np.random.default_rng((*seed, *key.encode()))) for key in keys}
