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

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from videopoet_jax.layers.pieces import deal
from videopoet_jax.layers.precision import products_in
from videopoet_jax.video.blocks import Chunk
from videopoet_jax.video.model import VideoTokenizerModel, to_bytes, to_pixels

CHUNK_FRAMES = 16  # Not in the paper; ours: two seconds at 8 fps. A clip of MAGVIT, which is not causal, is as long


class Piece(NamedTuple):
    """One chunk (or clip) of a film: its true frames, the codes they became, and what these became again."""

    truth: UInt8[np.ndarray, "t h w 3"]
    codes: Int[np.ndarray, "t2 h2 w2"]
    video: UInt8[np.ndarray, "t h w 3"]


def fill(clip: np.ndarray, size: int) -> np.ndarray:
    """`clip` [t …] with its last frame repeated up to `size`; what is made of the filling is dropped by the caller."""
    return np.concatenate([clip, np.repeat(clip[-1:], size - len(clip), axis=0)]) if len(clip) < size else clip


class Stream:
    """A model's compiled programs, for whole clips and for films in chunks. A film's past lives in its iterator.

    `encode_chunk(params, past, uint8 [b t h w 3], chunk)` gives (codes [b t2 h2 w2], past), `decode_chunk` the way
    back; `past` is {} before the first chunk, and for a clip that is "whole".

    Args:
        model, dtype: the network, and what it computes in.
        chunk_frames: of a film; None: 16, or the nearest number below it that the model's stride in time divides.

    Raises:
        ValueError: a chunk that is no multiple of the stride in time.
    """

    def __init__(self, model: VideoTokenizerModel, dtype: Any, chunk_frames: int | None = None) -> None:
        self.model, self.dtype, self.time, self.causal = model, dtype, model.stride[0], model.causal
        near = max(1, (chunk_frames or CHUNK_FRAMES) // self.time) * self.time
        if chunk_frames not in (None, near):
            raise ValueError(f"{chunk_frames} frames a chunk: needs a multiple of {self.time}; use {near}.")
        self.frames, self.latents = near, near // self.time
        self.encode_chunk = jax.jit(self._encode_chunk, static_argnames="chunk")
        self.decode_chunk = jax.jit(self._decode_chunk, static_argnames="chunk")

    def encode(self, params: Any, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[np.ndarray]:
        """Frames, in pieces of any length → codes, a chunk at a time; a last group short of frames is filled up."""
        for _, codes in self._encoded(params, pieces):
            yield codes

    def decode(self, params: Any, pieces: Iterable[Int[np.ndarray, "_t h w"]]) -> Iterator[np.ndarray]:
        """Codes, in pieces of any length → frames, a chunk at a time."""
        past = None
        for codes in deal(pieces, self.causal + self.latents, self.latents):
            past, video = self._decoded(params, past, codes)
            yield video

    def reconstruct(self, params: Any, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[Piece]:
        """Frames → the same number of frames, encoded and decoded, beside the truth; any number of frames will do."""
        past = None
        for truth, codes in self._encoded(params, pieces):
            past, video = self._decoded(params, past, codes)
            yield Piece(truth, codes, video[: len(truth)])

    def _encoded(self, params: Any, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(true frames, codes) of each chunk."""
        past: Any = None
        for truth in deal(pieces, self.causal + self.frames, self.frames):
            self.model.grid(1, *truth.shape[1:3])  # or say what is wrong with the size
            first = self.causal and past is None
            kept = -(-(len(truth) - first) // self.time) + first
            if self.causal:
                filled = fill(truth, self.frames + first)[None]
                codes, past = self.encode_chunk(params, past or {}, filled, chunk="first" if first else "next")
            else:
                codes, _ = self.encode_chunk(params, {}, fill(truth, kept * self.time)[None], chunk="whole")
            yield truth, np.asarray(codes[0, :kept])

    def _decoded(self, params: Any, past: Any, codes: np.ndarray) -> tuple[Any, np.ndarray]:
        """(past, frames) of one chunk of codes."""
        if not self.causal:
            video, past = self.decode_chunk(params, {}, jnp.asarray(codes[None], jnp.int32), chunk="whole")
            return past, np.asarray(video[0])
        first = past is None
        filled = jnp.asarray(fill(codes, self.latents + first)[None], jnp.int32)
        video, past = self.decode_chunk(params, past or {}, filled, chunk="first" if first else "next")
        return past, np.asarray(video[0, : len(codes) * self.time - (self.time - 1) * first])

    def _encode_chunk(self, params: Any, past: Any, video: Any, chunk: Chunk) -> tuple[jax.Array, Any]:
        pixels, variables = to_pixels(video).astype(self.dtype), {"params": params, "past": past}
        with products_in(self.dtype):
            codes, state = self.model.apply(variables, pixels, chunk, method="to_indices", mutable=["past"])
        return codes, state.get("past", {})

    def _decode_chunk(self, params: Any, past: Any, codes: Any, chunk: Chunk) -> tuple[jax.Array, Any]:
        variables, method = {"params": params, "past": past}, "from_indices"
        with products_in(self.dtype):
            video, state = self.model.apply(variables, codes, self.dtype, chunk, method=method, mutable=["past"])
        return to_bytes(video), state.get("past", {})
