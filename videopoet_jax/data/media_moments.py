"""Which frame is shown at each moment, at any rate, and which frames at none.

    retime    frames at 0.00 0.04 0.08 0.12 0.16, fps 10   →  those of 0.00 0.08 0.16

    Unshown   frames    0  1  2  3  4  5  6      24 a second; at 8 a second 0, 3 and 6 are shown
              packets   0  2  1  4  3  6  5      frames 1, 3 and 5 are made of their neighbours, nothing is made of them
              unshown         1           5

A frame is known to be unshown, from the packets that came before its own, when a later one is due at the same moment.
Where nothing is made of it, it need not be decoded: what is shown stays the same, bit for bit.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

import av

# Whose frames that "nothing is made of" (libav's NONREF) are such; in HEVC a higher temporal layer may be made of one.
CODECS = frozenset(("h264", "mpeg1video", "mpeg2video", "mpeg4"))
_REMEMBERED = 32  # moments; H.264 reorders 16 frames at most
_Item = TypeVar("_Item")


def retime(
    timed: Iterable[tuple[Fraction, _Item]],
    *,
    fps: Fraction,
    start: Fraction = Fraction(0),
    end: Fraction | None = None,
    last: Fraction = Fraction(0),
    tolerance: Fraction = Fraction(0),
) -> Iterator[_Item]:
    """The moment start + i/fps shows the newest item that is not later; computed from i alone, so nothing drifts.

        items at 0.00 0.04 0.08 0.12 0.16, fps 10   →  those of 0.00 0.08 and, if last > 0.04, 0.16
        items at 0 1 2, fps 2, last 1                →  those of 0 0 1 1 2 2

    `last` is how long the last item is shown; `tolerance` forgives the rounding of timestamps. Moments before the first
    item show the first item.
    """
    index, latest, newest, held = 0, start + tolerance, start, None  # `latest`: of an item that the moment may show
    end = None if end is None else end + tolerance
    for time, item in timed:
        while held is not None and latest < time and (end is None or latest < end):
            yield held
            index += 1
            latest = start + tolerance + index / fps
        if end is not None and latest >= end:
            return
        held, newest = item, time
    while held is not None and latest < newest + last and (end is None or latest < end):
        yield held
        index += 1
        latest = start + tolerance + index / fps


class Unshown:
    """Asked of every packet, in their order: is its frame one that no moment shows?

    Moments are those of `retime`; `zero` is the timestamp, in seconds, that counts as second 0.
    """

    def __init__(
        self, codec: str, time_base: Fraction, *, zero: Fraction, start: Fraction, fps: Fraction, tolerance: Fraction
    ) -> None:
        self._known = codec in CODECS
        ticks, shift = time_base * fps, (zero + start + tolerance) * fps  # both in moments
        self._unit = math.lcm(ticks.denominator, shift.denominator)
        self._ticks, self._shift = int(ticks * self._unit), int(shift * self._unit)
        self._newest: dict[int, int] = {}  # moment → timestamp of the latest frame that is due at it

    def __call__(self, packet: "av.Packet") -> bool:
        if not self._known or packet.pts is None or packet.is_discard:
            return False
        pts, moment = packet.pts, self.moment(packet.pts)
        newest = self._newest.get(moment, pts)
        self._newest[moment] = max(newest, pts)
        if len(self._newest) > _REMEMBERED:
            del self._newest[next(iter(self._newest))]
        return newest > pts

    def moment(self, pts: int) -> int:
        """The one at which a frame is due, the first that is not before it.  At 24 ticks: `0 1 2 3 4 → 0 1 1 1 2`"""
        return max(0, -((self._shift - pts * self._ticks) // self._unit))
