"""The bits of a latent frame's codes, written in tokens of another size: as much picture in more tokens, or in fewer.

codes of 6 bits in tokens of 4; bits are counted from the lowest of the first code on, the last token's spare ones are 0

    codes    13                21                →   bits  1 0 1 1 0 0 | 1 0 1 0 1 0
    tokens   1 0 1 1 | 0 0 1 0 | 1 0 1 0         →   13 4 5
    codes of 6 bits in tokens of 5               →   13 10 1, the last of 2 bits

Not in the paper, whose tokens are codes; ours: to see what the size of a vocabulary does to the language model, with
the same pictures and the same tokenizer behind it.
"""

import dataclasses

import numpy as np
from jaxtyping import Int


def bits_of(size: int) -> int:
    """`1024 → 10`; raises where a vocabulary of that size is no whole number of bits."""
    bits = size.bit_length() - 1
    if size < 2 or size != 1 << bits:
        raise ValueError(
            f"{size} visual codes: codes of other sizes are written in tokens of whole bits; choose a power of 2."
        )
    return bits


@dataclasses.dataclass(frozen=True)
class Words:
    """Codes of `code_bits` in tokens of `token_bits`."""

    code_bits: int
    token_bits: int

    def count(self, codes: int) -> int:
        """Tokens of so many codes: of 18 bits in tokens of 10, `16 → 29`."""
        return -(-codes * self.code_bits // self.token_bits)

    def split(self, codes: Int[np.ndarray, "*b n"]) -> Int[np.ndarray, "*b m"]:
        """Codes → tokens: of 6 bits in 4, `13 21 → 13 4 5`."""
        return _regrouped(codes, self.code_bits, self.token_bits, self.count(codes.shape[-1]))

    def join(self, tokens: Int[np.ndarray, "*b m"], codes: int) -> Int[np.ndarray, "*b n"]:
        """Tokens → so many codes; what stands in spare bits is left out."""
        return _regrouped(tokens, self.token_bits, self.code_bits, codes)


def _regrouped(values: Int[np.ndarray, "*b n"], bits: int, into: int, count: int) -> Int[np.ndarray, "*b m"]:
    stream = (np.asarray(values)[..., None] >> np.arange(bits)) & 1
    stream = stream.reshape(*stream.shape[:-2], -1)[..., : count * into]
    spare = [(0, 0)] * (stream.ndim - 1) + [(0, count * into - stream.shape[-1])]
    stream = np.pad(stream, spare).reshape(*stream.shape[:-1], count, into)
    return np.sum(stream << np.arange(into), axis=-1, dtype=np.int32)
