"""How sure a figure over clips is, and the difference of two: films drawn anew, the same ones for every system.

    draws = draw_films(["a", "a", "b"], resamples=200, seed=0)      # such as the clips 2 2, or 0 1 2
    one, other = (estimate(mean_of(system), clips=3, draws=draws) for system in systems)
    one.value, one.low, one.high                                    # a figure and its 95 % interval
    difference(one, other)                                          # likewise, of what the two differ by

Clips of one film are alike, so whole films are drawn, with replacement. A sample so drawn has fewer different clips,
which alone raises a Fréchet distance; the spread is therefore taken around the mean of the drawn figures and put around
the one that was measured.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Picked = Int[np.ndarray, "_n"]


class Estimate(NamedTuple):
    """A figure of all clips, and of those of every draw (`drawn` is empty where there is one film only)."""

    value: float
    drawn: Float[np.ndarray, " r"]

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval of what as many other films would give; None where it is unknown."""
        return self._end(0.025)

    @property
    def high(self) -> float | None:
        return self._end(0.975)

    def _end(self, quantile: float) -> float | None:
        if not len(self.drawn) or not np.isfinite(self.drawn).all():  # an exact copy has no finite PSNR
            return None
        return float(self.value + np.quantile(self.drawn, quantile) - np.mean(self.drawn))


def draw_films(films: Sequence[str], *, resamples: int, seed: int) -> list[Picked]:
    """`resamples` draws of as many films as there are, as clips; `films[i]` is where clip i was cut from.

    None from a single film, whose clips say nothing about others.
    """
    rng, names = np.random.default_rng(seed), np.asarray(films)
    clips_of = [np.flatnonzero(names == film) for film in dict.fromkeys(films)]
    if len(clips_of) < 2:
        return []
    drawn: list[Picked] = []
    while len(drawn) < resamples:
        picked = np.concatenate([clips_of[i] for i in rng.integers(len(clips_of), size=len(clips_of))])
        if len(picked) > 1:  # a covariance needs two
            drawn.append(picked)
    return drawn


def estimate(figure: Callable[[Picked], float], *, clips: int, draws: Sequence[Picked]) -> Estimate:
    """`figure` of all clips and of every draw; it is given the numbers of the clips, which may repeat."""
    return Estimate(float(figure(np.arange(clips))), np.array([figure(picked) for picked in draws], np.float64))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """What `one` has more than `other`, both from the same draws."""
    return Estimate(one.value - other.value, one.drawn - other.drawn)
