"""Sequences that arrive in pieces of any lengths, dealt out again in chunks of one length."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Shaped


def deal(pieces: Iterable[Shaped[np.ndarray, " _n *rest"]], first: int, then: int) -> Iterator[np.ndarray]:
    """Pieces [n …] of any lengths → `first` items, then `then` at a time; the last chunk may be shorter.

    `deal([[0 1] [2 3 4]], 3, 2) → [0 1 2] [3 4]`

    Raises:
        ValueError: a piece whose other dimensions are not those of the one before.
    """
    held: list[np.ndarray] = []
    size = first
    for piece in map(np.asarray, pieces):
        if held and piece.shape[1:] != held[-1].shape[1:]:
            raise ValueError(
                f"a piece {list(piece.shape)} after {list(held[-1].shape[1:])} an item: all pieces of one sequence "
                f"have items of one size; start anew for another."
            )
        held.append(piece)
        while sum(map(len, held)) >= size:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield joined[:size]
            held, size = [joined[size:]], then
    rest = np.concatenate(held) if held else np.empty(0)
    if len(rest):
        yield rest
