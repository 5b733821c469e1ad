"""What the rest of the library asks of a tokenizer, ours or another's.

signal                        codes               grid
video   uint8 [t h w 3]       int32 [t' h' w']    grid(t, h, w) → (t', h', w')
sound   float32 [s]           int32 [f q]         grid(s)       → (f, q)
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from jax import Array
from numpy import ndarray


def fits(array: ndarray | Array, *shapes: str) -> bool:
    """Whether it has as many dimensions as one of the shapes: `[5 4 4], "[t h w]" → True`"""
    return array.ndim in [len(shape.split()) for shape in shapes]


@runtime_checkable
class Encoded(Protocol):
    """What `encode` gives: the codes, and whatever else a tokenizer has to tell."""

    @property
    def codes(self) -> ndarray | Array: ...


@runtime_checkable
class Tokenizer(Protocol):
    """Signals → codes in 0 … vocabulary_size − 1 on a grid, and back; whole, in batches, or in pieces of any length."""

    @property
    def vocabulary_size(self) -> int:
        """How many codes there are at a place of the grid."""

    def grid(self, *size: int) -> tuple[int, ...]:
        """The shape of the codes of a signal of that size, its channels not counted."""

    def encode(self, signal: Any) -> Encoded:
        """One signal, or a batch of equal sizes along a first axis."""

    def decode(self, codes: Any) -> ndarray:
        """The signal of such codes, one or a batch."""

    def encode_pieces(self, pieces: Iterable[ndarray]) -> Iterator[ndarray]:
        """A long signal in constant memory: its codes do not depend on the pieces that it comes in."""

    def decode_pieces(self, pieces: Iterable[ndarray]) -> Iterator[ndarray]:
        """The way back."""
