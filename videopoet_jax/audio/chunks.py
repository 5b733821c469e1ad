"""A causal network applied to sequences of any length, always at one shape: chunk after chunk, carrying what it needs.

    chunk 3      0 1 2 | 3 4 5 | 6 7 –     filled up with zeros, which a causal network cannot hear

The network carries its past from chunk to chunk (zeros before the first), so nothing is computed twice.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from videopoet_jax.layers.pieces import deal

CHUNK_FRAMES = 106  # ours: the sound of a 17-frame clip is one chunk

Prepare = Callable[[np.ndarray], np.ndarray]


def blocks(pieces: Iterable[Float[np.ndarray, " _s"]], size: int) -> Iterator[Float[np.ndarray, "_f size"]]:
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


class Chunks:
    """A causal network `step(past, [rows n …]) → ([rows n …], past)` over sequences, `rows` of them in a call.

    The past of a beginning is None; `prepare` makes the network's input of frames [rows n …].
    """

    def __init__(self, step: Callable[[Any, np.ndarray], tuple[Array, Any]], prepare: Prepare, rows: int):
        self.step, self.prepare, self.rows = step, prepare, rows

    def __call__(self, x: Shaped[np.ndarray, "b f *rest"]) -> np.ndarray:
        """Sequences [b f …] → [b f …]."""
        groups = [self._group(x[i : i + self.rows]) for i in range(0, len(x), self.rows)]
        return np.concatenate(groups)

    def stream(self, pieces: Iterable[Shaped[np.ndarray, " _f *rest"]]) -> Iterator[np.ndarray]:
        """One sequence, in pieces [f …] of any lengths → what the call gives for it whole, bit for bit."""
        past = None
        for chunk in deal(pieces, CHUNK_FRAMES, CHUNK_FRAMES):
            y, past = self._next(past, chunk[None])
            yield y[0]

    def _group(self, x: np.ndarray) -> np.ndarray:
        past, done = None, []
        for i in range(0, x.shape[1], CHUNK_FRAMES):
            y, past = self._next(past, x[:, i : i + CHUNK_FRAMES])
            done.append(y)
        return np.concatenate(done, axis=1)

    def _next(self, past: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """At most `rows` sequences of at most a chunk, filled up to just so many."""
        b, n = x.shape[:2]
        filled = np.pad(x, [(0, self.rows - b), (0, CHUNK_FRAMES - n)] + [(0, 0)] * (x.ndim - 2))
        y, past = self.step(past, self.prepare(filled))
        return np.asarray(y).reshape(self.rows, CHUNK_FRAMES, -1)[:b, :n], past
