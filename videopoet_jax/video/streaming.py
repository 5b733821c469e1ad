"""Films of any length through the tokenizer in memory that does not grow with them, without seams.

Every causal convolution carries its past from chunk to chunk, so the film is computed as one clip would be. However the
frames arrive, they are dealt out again in one fixed chunk, 1 + n frames and then n:

    n = 16   pieces of 10 10 10 …   →   17 | 16 | 16 | … | the rest, filled up by repeating its last frame

so the codes of a film do not depend on the pieces it came in, bit for bit. (For other shapes XLA:CPU rounds
differently, so equality is made by running the same shapes.)

A model that is not causal (`magvit1`) sees a clip as a whole, so a film is cut into clips of n frames that know nothing
of each other, with a seam between them. What the last clip lacks of a whole latent is filled up by repeating its last
frame; it is no longer than that:

    n = 16   37 frames   →   16 | 16 | 5 and 3 times the last of them   →   4 + 4 + 2 latents
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from videopoet_jax.video.tokenizer import VideoTokenizer, to_bytes, to_pixels

CHUNK_FRAMES = 16  # Not in the paper; ours: two seconds at 8 fps. A clip of MAGVIT, which is not causal, is as long


class Piece(NamedTuple):
    """One chunk (or clip) of a film: its true frames, the codes they became, and what these became again."""

    truth: UInt8[np.ndarray, "t h w 3"]
    codes: Int[np.ndarray, "t2 h2 w2"]
    video: UInt8[np.ndarray, "t h w 3"]


def deal(pieces: Iterable[np.ndarray], first: int, then: int) -> Iterator[np.ndarray]:
    """Pieces [t …] of any lengths → `first` frames, then `then` at a time; the last may be shorter.

    `deal([[0 1] [2 3 4]], 3, 2) → [0 1 2] [3 4]`
    """
    held: list[np.ndarray] = []
    size = first
    for piece in pieces:
        held.append(np.asarray(piece))
        while sum(map(len, held)) >= size:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield joined[:size]
            held, size = [joined[size:]], then
    rest = np.concatenate(held) if held else np.empty(0)
    if len(rest):
        yield rest


def fill(chunk: np.ndarray, size: int) -> np.ndarray:
    """`chunk` with its last frame repeated up to `size`; what is made of the filling is dropped by the caller."""
    return np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)]) if len(chunk) < size else chunk


class Stream:
    """A tokenizer for films. Only the compiled programs are kept here; each call's past lives in its iterator."""

    def __init__(self, tokenizer: VideoTokenizer, chunk_frames: int = CHUNK_FRAMES) -> None:
        self.tokenizer = tokenizer
        self.time, self.causal = tokenizer.stride[0], tokenizer.model.causal
        if chunk_frames < self.time or chunk_frames % self.time:
            near = max(1, chunk_frames // self.time) * self.time
            raise ValueError(f"{chunk_frames} frames a chunk: needs a multiple of {self.time}; use {near}.")
        self.frames, self.latents = chunk_frames, chunk_frames // self.time

    def encode(self, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[Int[np.ndarray, "_t2 h2 w2"]]:
        """Frames, in pieces of any length → codes, a chunk at a time; a last group short of frames is filled up."""
        for _, codes in self._encoded(pieces):
            yield codes

    def decode(self, pieces: Iterable[Int[np.ndarray, "_t h w"]]) -> Iterator[UInt8[np.ndarray, "_t2 h2 w2 3"]]:
        """Codes, in pieces of any length → frames, a chunk at a time."""
        past: Any = None
        for chunk in deal(pieces, self.causal + self.latents, self.latents):
            past, start, video = self._decode_chunk(past, chunk)
            yield video[: len(chunk) * self.time - start]

    def reconstruct(self, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[Piece]:
        """Frames → the same number of frames, encoded and decoded, beside the truth; any number of frames will do."""
        past: Any = None
        for truth, codes in self._encoded(pieces):
            past, _, video = self._decode_chunk(past, codes)
            yield Piece(truth, codes, video[: len(truth)])

    def _encoded(self, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(true frames, codes) of each chunk."""
        params, past = self.tokenizer.params, None
        for chunk in deal(pieces, self.causal + self.frames, self.frames):
            if not self.causal:
                yield chunk, np.asarray(self.tokenizer.encode(chunk).codes)
                continue
            self.tokenizer.grid(1, *chunk.shape[1:3])
            first = past is None
            filled = jnp.asarray(fill(chunk, self.frames + first))[None]
            index, past = self._encode_first(params, filled) if first else self._encode_next(params, past, filled)
            kept = -(-(len(chunk) - first) // self.time) + first
            yield chunk, np.asarray(index[0, :kept])

    def _decode_chunk(self, past: Any, chunk: np.ndarray) -> tuple[Any, int, np.ndarray]:
        """(past, frames that the first latent lacks, frames) of one chunk of codes."""
        if not self.causal:
            return None, 0, self.tokenizer.decode(chunk)
        first = past is None
        filled = jnp.asarray(fill(chunk, self.latents + first), jnp.int32)[None]
        params = self.tokenizer.params
        video, past = self._decode_first(params, filled) if first else self._decode_next(params, past, filled)
        return past, (self.time - 1) * first, np.asarray(video[0])

    def _run_encoder(self, variables: dict[str, Any], video: jax.Array, chunk: str) -> tuple[jax.Array, Any]:
        pixels = to_pixels(video).astype(self.tokenizer.dtype)
        index, state = self.tokenizer.model.apply(variables, pixels, chunk, method="to_indices", mutable=["past"])
        return index, state.get("past", {})

    def _run_decoder(self, variables: dict[str, Any], index: jax.Array, chunk: str) -> tuple[jax.Array, Any]:
        model, dtype = self.tokenizer.model, self.tokenizer.dtype
        video, state = model.apply(variables, index, dtype, chunk, method="from_indices", mutable=["past"])
        return to_bytes(video), state.get("past", {})

    @functools.cached_property
    def _encode_first(self):
        return jax.jit(lambda params, video: self._run_encoder({"params": params}, video, "first"))

    @functools.cached_property
    def _encode_next(self):
        return jax.jit(lambda params, past, video: self._run_encoder({"params": params, "past": past}, video, "next"))

    @functools.cached_property
    def _decode_first(self):
        return jax.jit(lambda params, codes: self._run_decoder({"params": params}, codes, "first"))

    @functools.cached_property
    def _decode_next(self):
        return jax.jit(lambda params, past, codes: self._run_decoder({"params": params, "past": past}, codes, "next"))
