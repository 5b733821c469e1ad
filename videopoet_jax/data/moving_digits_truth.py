"""Truth of `moving_digits`: where everything is at every moment, exactly, in pixels of the clip that was asked for.

Places are (x, y), x to the right and y down, and whole numbers are pixel centres: (31.5, 31.5) is the middle of 64×64.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from videopoet_jax.data.moving_digits_render import CELLS, INK_REACH, coverage, digit_images
from videopoet_jax.data.moving_digits_scene import SIZES, STEPS, Actor
from videopoet_jax.data.moving_digits_sound import FPS, Voice

UNITS = 64  # across the shorter side
GRACE = 4  # ours: frames before the first bounce may come, so that the direction in the caption is seen


@dataclasses.dataclass(frozen=True)
class Path:
    """Motion along one axis, between two walls that reflect: a triangle wave."""

    start: float
    step: float  # pixels a frame, signed; 0 stands still
    low: float
    high: float

    def unfolded(self, frames: Float[np.ndarray, " t"]) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the low wall, and whether the motion is reversed by then."""
        room = self.high - self.low
        travelled = np.mod(self.start - self.low + self.step * frames, 2 * room)
        return np.where(travelled < room, travelled, 2 * room - travelled), travelled >= room

    def at(self, frames: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        if self.step == 0:
            return np.full(frames.shape, self.start)
        return self.low + self.unfolded(frames)[0]

    def velocity(self, frames: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        if self.step == 0:
            return np.zeros(frames.shape)
        return np.where(self.unfolded(frames)[1], -self.step, self.step)

    def bounces(self, num_frames: int) -> Float[np.ndarray, " k"]:
        """Frames (fractional) at which a wall is met, before the clip of `num_frames` ends."""
        if self.step == 0:
            return np.zeros(0)
        room = self.high - self.low
        ahead = self.high - self.start if self.step > 0 else self.start - self.low
        times = (ahead + room * np.arange(2 + abs(self.step) * num_frames // room)) / abs(self.step)
        return times[times < num_frames]


@dataclasses.dataclass(frozen=True)
class DigitTruth:
    """One digit of a clip."""

    colour: str
    digit: int
    direction: str  # at the start; a bounce turns it round
    size: str
    speed: str
    image_index: int
    cell: float  # pixels a cell of the scan spans
    positions: Float[np.ndarray, "t 2"]
    velocities: Float[np.ndarray, "t 2"]  # pixels a frame
    bounces: Float[np.ndarray, " k"]  # seconds
    displacements: Float[np.ndarray, "t 2"]  # from each frame to the next; the last one goes on as before
    voice: Voice
    height: int
    width: int

    @property
    def pitch(self) -> float:
        return self.voice.pitch

    def coverage(self) -> Float[np.ndarray, "t h w"]:
        """How far the digit covers each pixel, as if nothing stood before it."""
        return coverage(self.image_index, self.positions, self.cell, self.height, self.width)


@dataclasses.dataclass(frozen=True)
class Truth:
    """All there is to know about a clip. `digits` is front first; the one-digit names speak of the first."""

    caption: str
    level: int
    digits: tuple[DigitTruth, ...]
    template: int
    background: str | None
    camera: str | None
    pan: tuple[float, float]  # (x, y) by which the background slides from each frame to the next

    colour = property(lambda self: self.digits[0].colour)
    digit = property(lambda self: self.digits[0].digit)
    direction = property(lambda self: self.digits[0].direction)
    image_index = property(lambda self: self.digits[0].image_index)
    positions = property(lambda self: self.digits[0].positions)
    velocities = property(lambda self: self.digits[0].velocities)

    @property
    def bounces(self) -> Float[np.ndarray, " k"]:
        """Seconds of all bounces, in order."""
        return np.sort(np.concatenate([d.bounces for d in self.digits]))

    @property
    def pitches(self) -> tuple[float, ...]:
        return tuple(d.pitch for d in self.digits)

    def order(self) -> Int[np.ndarray, "t h w"]:
        """Which is seen at each pixel: 0 the background, 1 the first digit, 2 the second."""
        seen = 0
        for number, digit in reversed(list(enumerate(self.digits, start=1))):
            seen = np.where(digit.coverage() > 0.5, number, seen)
        return np.asarray(seen, np.int32)

    def masks(self) -> Bool[np.ndarray, "t h w"]:
        """Where any digit is seen."""
        return self.order() > 0

    def depth(self) -> Float[np.ndarray, "t h w"]:
        """Nearness in [0, 1]: the background 0, the front digit 1."""
        order = self.order()
        return np.where(order > 0, 1 - (order - 1) / 2, 0.0).astype(np.float32)

    def flow(self) -> Float[np.ndarray, "t h w 2"]:
        """(x, y) pixels by which what is seen at each pixel moves until the next frame.

        In the last frame it goes on as from the one before; of a picture alone nothing moves.
        """
        order = self.order()
        pan = self.pan if len(order) > 1 else (0.0, 0.0)
        flow = np.broadcast_to(np.asarray(pan, np.float32), (*order.shape, 2)).copy()
        for number, digit in enumerate(self.digits, start=1):
            t, y, x = np.nonzero(order == number)
            flow[t, y, x] = digit.displacements[t]
        return flow


def reach(actor: Actor, level: int) -> Float[np.ndarray, "2 2"]:
    """Cells from the centre to the walls' side of the ink: [[left, right], [up, down]].

    At level 1 no ink may ever touch, so the widest reach of any scan; with walls, what a viewer sees as the edge.
    """
    if level == 1:
        return np.full((2, 2), INK_REACH + 0.1)
    ink = digit_images()[0][actor.image_index] > 0.25
    ends = [np.flatnonzero(ink.any(axis)) for axis in (0, 1)]
    return np.array([[CELLS / 2 - e[0], e[-1] + 1 - CELLS / 2] for e in ends]) + 0.25  # the soft edge


def locate(actor: Actor, level: int, num_frames: int, height: int, width: int) -> DigitTruth:
    """Lay one digit of a scene out in pixels and frames."""
    unit = min(height, width) / UNITS
    cell = SIZES[actor.size] * unit / CELLS
    step = actor.step * unit / (max(16, num_frames - 1) if level == 1 else 1)
    paths = []
    for side, length, sign, share in zip(
        reach(actor, level), (width, height), STEPS[actor.triple.direction], actor.start, strict=True
    ):
        low, high = side[0] * cell - 0.5, length - 0.5 - side[1] * cell
        ahead = 0.0 if sign == 0 else min(high - low, step * (max(16, num_frames - 1) if level == 1 else GRACE))
        first, last = (low + ahead, high) if sign < 0 else (low, high - ahead)
        paths.append(Path(first + share * (last - first), sign * step, low, high))
    frames = np.arange(num_frames, dtype=np.float64)
    places = np.stack([p.at(frames) for p in paths], -1)
    moves = np.diff(places, axis=0) if num_frames > 1 else np.zeros((1, 2))
    return DigitTruth(
        *actor.triple,
        size=actor.size,
        speed=actor.speed,
        image_index=actor.image_index,
        cell=cell,
        positions=places,
        velocities=np.stack([p.velocity(frames) for p in paths], -1),
        bounces=np.zeros(0) if level == 1 else np.concatenate([p.bounces(num_frames) for p in paths]) / FPS,
        displacements=np.concatenate([moves, moves[-1:]])[:num_frames],
        voice=actor.voice,
        height=height,
        width=width,
    )
