"""A causal function applied to a sequence of any length, always at one shape.

Windows of `window` frames start every `window − back` frames, where `back` is how far the function looks back; of all
but the first, the first `back` outputs are dropped, whose past is cut off:

    window 5, back 2      0 1 2 3 4          →  0 1 2 3 4
                                3 4 5 6 7    →      5 6 7
                                      6 7 8  →          8     filled up with zeros, which a causal function cannot hear
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

WINDOW_FRAMES = 106  # ours: the sound of a 17-frame clip is one window


def blocks(pieces: Iterable[Float[np.ndarray, "_s"]], size: int) -> Iterator[Float[np.ndarray, "_f size"]]:
    """Samples in pieces of any lengths → whole frames of `size` samples; what is left beyond the last is dropped.

    `blocks([[0 1 2], [3 4]], 2) → [[0 1]] [[2 3]]`
    """
    rest = np.zeros(0, np.float32)
    for piece in pieces:
        joined = np.concatenate([rest, piece])
        whole = len(joined) // size * size
        if whole:
            yield joined[:whole].reshape(-1, size)
        rest = joined[whole:]


class Windows:
    """A causal function [rows n …] → [rows n …] for sequences of any length, `rows` windows in a call."""

    def __init__(self, function: Callable[[Array], Array], back: int, rows: int):
        self.function, self.back, self.rows = function, back, rows
        self.window = max(WINDOW_FRAMES, 2 * back)
        self.step = self.window - back

    def __call__(self, prepare: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        """Sequences [b f …] → [b f …]; `prepare` is applied to the windows of a call."""
        b, f = x.shape[:2]
        number = 1 + max(0, -(-(f - self.window) // self.step))
        long = np.pad(x, [(0, 0), (0, (number - 1) * self.step + self.window - f)] + [(0, 0)] * (x.ndim - 2))
        cut = np.stack([long[:, i * self.step : i * self.step + self.window] for i in range(number)], axis=1)
        cut = cut.reshape(b * number, *cut.shape[2:])
        groups = [self._call(prepare, cut[i : i + self.rows]) for i in range(0, len(cut), self.rows)]
        out = np.concatenate(groups).reshape(b, number, self.window, -1)
        kept = [out[:, 0], *(out[:, i, self.back :] for i in range(1, number))]
        return np.concatenate(kept, axis=1)[:, :f]

    def stream(
        self, prepare: Callable[[np.ndarray], np.ndarray], pieces: Iterable[Shaped[np.ndarray, "_f *rest"]]
    ) -> Iterator[np.ndarray]:
        """One sequence, in pieces [f …] of any lengths → what the call gives for it whole, bit for bit."""
        held: list[tuple[np.ndarray, slice]] = []
        for window in self._cut(pieces):
            held.append(window)
            if len(held) == self.rows:
                yield self._kept(prepare, held)
                held = []
        if held:
            yield self._kept(prepare, held)

    def _cut(self, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, slice]]:
        """The windows of one sequence, each with the part of its outputs that counts."""
        rest, skip = None, 0
        for piece in pieces:
            rest = piece if rest is None else np.concatenate([rest, piece])
            while len(rest) >= self.window:
                yield rest[: self.window], slice(skip, self.window)
                rest, skip = rest[self.step :], self.back
        if rest is not None and len(rest) > skip:
            missing = [(0, self.window - len(rest))] + [(0, 0)] * (rest.ndim - 1)
            yield np.pad(rest, missing), slice(skip, len(rest))

    def _kept(self, prepare: Callable[[np.ndarray], np.ndarray], held: list[tuple[np.ndarray, slice]]) -> np.ndarray:
        out = self._call(prepare, np.stack([window for window, _ in held]))
        out = out.reshape(len(held), self.window, -1)
        return np.concatenate([one[part] for one, (_, part) in zip(out, held, strict=True)])

    def _call(self, prepare: Callable[[np.ndarray], np.ndarray], windows: np.ndarray) -> np.ndarray:
        """At most `rows` windows, filled up with empty ones to just so many."""
        filled = np.pad(windows, [(0, self.rows - len(windows))] + [(0, 0)] * (windows.ndim - 1))
        return np.asarray(self.function(prepare(filled)))[: len(windows)]
