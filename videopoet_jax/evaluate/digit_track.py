"""Does something move straight and evenly, and which way? Judged on where it was seen in each frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Units: 64 span a frame's shorter side. All ours; true clips travel 24 to 30 units in 16 steps of 1.5 to 1.9.
TRAVEL = 20.0  # over 17 frames, in proportion for fewer
SIDEWAYS = 2.5  # the most that it may stray from a straight line along its axis
UNEVEN = 2.0  # the most that it may be ahead of or behind an even pace
STEP = 1.5  # the most that a step may differ from the mean step, along or across: two frames alike are too many
SLANT = 0.5  # motion across, as a share of motion along, beyond which there is no one direction
STILL = ""


class Track(NamedTuple):
    direction: str  # left, right, up, down, or "" when it has none
    travel: float  # units along it
    seen: bool  # in every frame
    straight: bool
    even: bool
    far: bool  # enough travel for motion

    @property
    def right(self) -> bool:
        """Motion in one direction, without a blink, a bend, a halt or a jump."""
        return bool(self.direction) and self.seen and self.straight and self.even and self.far


def follow(centres: Float[np.ndarray, "t 2"]) -> Track:
    """The motion of centres (x, y) in units, one a frame, nan where nothing was seen."""
    seen = ~np.isnan(centres).any(1)
    if seen.sum() < 2:
        return Track(STILL, 0.0, bool(seen.all()), False, False, False)
    frames = np.flatnonzero(seen)
    places = centres[seen].astype(np.float64)
    slope, start = np.polynomial.polynomial.polyfit(frames, places, 1)[::-1]
    along = int(np.abs(slope).argmax())
    travel = float(abs(slope[along]) * (len(centres) - 1))
    needed = TRAVEL * min(1.0, (len(centres) - 1) / 16)
    astray = np.abs(places[:, 1 - along] - places[:, 1 - along].mean()).max()
    late = np.abs(places[:, along] - start[along] - slope[along] * frames).max()
    jerks = np.diff(places, axis=0) / np.diff(frames)[:, None] - slope
    return Track(
        direction=way(slope, along),
        travel=travel,
        seen=bool(seen.all()),
        straight=bool(astray <= SIDEWAYS),
        even=bool(late <= UNEVEN and np.abs(jerks).max() <= STEP),
        far=travel >= needed,
    )


def way(slope: Float[np.ndarray, " 2"], along: int) -> str:
    """Name of a motion of `slope` (x, y) units a frame, mostly along axis `along`."""
    if abs(slope[along]) < 0.25 or abs(slope[1 - along]) > SLANT * abs(slope[along]):
        return STILL
    return (("left", "right"), ("up", "down"))[along][int(slope[along] > 0)]
