"""What happens in a `moving_digits` clip, before any pixel: who moves, where, how fast, over what; and its caption.

A scene is drawn in units free of resolution and length (64 units span the shorter side, time runs in frames), so one
(split, level, index, seed) is the same scene at every size and number of frames.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import zlib
from typing import NamedTuple

import numpy as np

from videopoet_jax.data.moving_digits_render import TINTS, digit_images
from videopoet_jax.data.moving_digits_sound import Voice, digit_pitch

COLOURS = tuple(TINTS)
DIRECTIONS = ("left", "right", "up", "down")
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # (x, y), y points down
SPLITS = ("train", "validation", "test")
LEVELS = (1, 2, 3)
NUMERALS = tuple("0123456789")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SIZES = {"small": 22.0, "": 28.0, "large": 36.0}  # units across the 8 cells of the scan; ours, but for the 28
SPEEDS = {"slowly": (0.5, 0.9), "": (1.5, 1.875), "quickly": (2.6, 3.4)}  # units a frame; ours: no two overlap
TRAVEL = (24.0, 30.0)  # units a level-1 digit covers in 17 frames: at least world's 24, at most what the room allows
BACKGROUNDS = (
    ("astronaut", "brick", "chelsea", "china", "coffee", "coins")
    + ("flower", "grass", "gravel", "moon", "motorcycle", "rocket")
)  # fmt: skip


class Triple(NamedTuple):
    """What a prompt can ask of one digit."""

    colour: str
    digit: int
    direction: str


def held_out(colour: str, digit: int, direction: str) -> bool:
    """Whether a triple is kept out of everything that is trained on."""
    return zlib.crc32(f"{colour} {digit} {direction}".encode()) % 5 == 0


TRIPLES = tuple(Triple(*t) for t in itertools.product(COLOURS, range(10), DIRECTIONS))
SEEN = tuple(t for t in TRIPLES if not held_out(*t))
# by checksum, so that any first few of them mix colours, digits and directions
HELD_OUT = tuple(
    sorted((t for t in TRIPLES if held_out(*t)), key=lambda t: zlib.crc32(f"{t[0]} {t[1]} {t[2]}".encode()))
)


@dataclasses.dataclass(frozen=True)
class Actor:
    """One digit of a scene."""

    triple: Triple
    image_index: int  # into scikit-learn's load_digits
    size: str
    speed: str
    step: float  # units a frame; at level 1 units in all, `TRAVEL`
    start: tuple[float, float]  # (x, y) in [0, 1] of the places where it may start
    voice: Voice
    spelled: bool  # the caption says "seven" for 7


@dataclasses.dataclass(frozen=True)
class Scene:
    """All that a clip will show and say."""

    level: int
    actors: tuple[Actor, ...]  # front first
    template: int = 0
    background: str | None = None
    crop: tuple[float, float, float] = (0.0, 0.0, 0.0)  # zoom, x, y in [0, 1]
    camera: str | None = None
    pan: float = 0.0  # units a frame


@functools.cache
def split_images(split: str, digit: int) -> np.ndarray:
    """Indices of the scans of `digit` that `split` may show: i % 10 < 7 train, 7 validation, 8 and 9 test."""
    classes = digit_images()[1]
    last = np.arange(classes.size) % 10
    member = {"train": last < 7, "validation": last == 7, "test": last > 7}[split]
    return np.flatnonzero(member & (classes == digit))


def check(split: str, level: int, index: int, seed: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}; use split='train' to train.")
    if level not in LEVELS:
        raise ValueError(f"level {level}: must be 1, 2 or 3; level 1 is one digit on black.")
    if index < 0 or seed < 0:
        raise ValueError(f"index {index}, seed {seed}: neither may be negative; count clips from 0.")


def draw_triple(rng: np.random.Generator, split: str) -> Triple:
    choices = HELD_OUT if split == "test" else SEEN
    return choices[rng.integers(len(choices))]


def draw_actor(rng: np.random.Generator, split: str, level: int, triple: Triple) -> Actor:
    images = split_images(split, triple.digit)
    image_index = int(images[rng.integers(images.size)])
    detune = rng.uniform(-10, 10)
    voice = Voice(digit_pitch(triple.digit, detune), detune, tuple(rng.uniform(0.1, 0.6, 2).tolist()))
    start = tuple(rng.uniform(size=2).tolist())
    if level == 1:
        return Actor(triple, image_index, "", "", rng.uniform(*TRAVEL), start, voice, spelled=False)
    size = ("small", "", "large")[rng.choice(3, p=(0.25, 0.5, 0.25))]
    speed = ("slowly", "", "quickly")[rng.choice(3, p=(0.25, 0.5, 0.25))]
    return Actor(triple, image_index, size, speed, rng.uniform(*SPEEDS[speed]), start, voice, bool(rng.integers(2)))


def draw(split: str, level: int, index: int, seed: int, triple: Triple | None = None) -> Scene:
    """The scene of a clip; a given `triple` replaces the drawn one (of the first digit).

    In the test split clip i shows held-out triple i % 52, so that 208 clips are every one of them four times.
    """
    check(split, level, index, seed)
    entropy = [seed, index, level, SPLITS.index(split)]
    if triple is not None:
        entropy.append(1 + TRIPLES.index(triple))
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    drawn = HELD_OUT[index % len(HELD_OUT)] if split == "test" else draw_triple(rng, split)
    actors = [draw_actor(rng, split, level, triple or drawn)]
    if level == 1:
        return Scene(level, tuple(actors))
    pair, pans = [(False, False), (True, False), (False, True), (True, True)][0 if level == 2 else rng.integers(1, 4)]
    while pair and len(actors) < 2:
        other = draw_triple(rng, split)
        if other.digit != actors[0].triple.digit and other.colour != actors[0].triple.colour:
            actors.append(draw_actor(rng, split, level, other))
    return Scene(
        level,
        tuple(actors),
        template=int(rng.choice(TEMPLATE_CHOICES[split])),
        background=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        crop=tuple(rng.uniform(size=3).tolist()),
        camera=DIRECTIONS[rng.integers(4)] if pans else None,
        pan=rng.uniform(0.75, 1.5) if pans else 0.0,
    )


# Phrases for one digit {it} that moves {way} ("left", "left slowly"), and for the picture {over} behind.
TEMPLATES = (
    ("a {it} moving {way}", "{who} over the {picture} picture"),
    ("a {it} that moves {way}", "{who} over the {picture} picture"),
    ("a {it} going {way}", "over the {picture} picture, {who}"),
    ("a {it} on its way {way}", "{who}, with the {picture} picture behind"),
    ("a {it} travelling {way}", "{who} in front of the {picture} picture"),  # this and the next: test alone
    ("a {it} which slides {way}", "the {picture} picture and {who}"),
)
TEMPLATE_CHOICES = {"train": range(4), "validation": range(4), "test": range(6)}


def caption(scene: Scene) -> str:
    """The text that says all that will be seen and heard.

    level 1  a red 3 moving left
    level 2  a small red three that moves left slowly over the coffee picture
    level 3  a red 3 moving left and a blue 7 moving up over the coffee picture, camera pans right
    """
    phrase, setting = TEMPLATES[scene.template]
    told = []
    for actor in scene.actors:
        colour, digit, direction = actor.triple
        name = (WORDS if actor.spelled else NUMERALS)[digit]
        it = " ".join(filter(None, (actor.size, colour, name)))
        told.append(phrase.format(it=it, way=" ".join(filter(None, (direction, actor.speed)))))
    text = " and ".join(told)
    if scene.background:
        text = setting.format(who=text, picture=scene.background)
    return f"{text}, camera pans {scene.camera}" if scene.camera else text
