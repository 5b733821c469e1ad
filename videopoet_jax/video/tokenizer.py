"""`VideoTokenizer`: load, save, frames → codes → frames.

    tokenizer = VideoTokenizer.from_pretrained("nano")
    codes = tokenizer.encode(video).codes           # uint8 [17 64 64 3] → int32 [5 4 4]
    video = tokenizer.decode(codes)                 # and back
    for codes in tokenizer.encode_pieces(pieces)    # a film, never whole in memory; decode_pieces likewise

The first frame stands alone, so a clip has 1 + 4·k frames. Any other number is filled up by repeating the last frame,
and `decode(codes, num_frames)` cuts off what was filled in:

    frames 0 1 2 3 4 5   →   0 1 2 3 4 5 5 5 5   →   codes of 3 latent frames   →   9 frames, of which 6 are kept
"""

import copy
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from videopoet_jax.layers.precision import cast_network, compute_dtype
from videopoet_jax.layers.tokenizer import fits
from videopoet_jax.parallel import place
from videopoet_jax.pretrained import SHARD_SIZE, open_tree, read_config, resolve, save_params, write_config
from videopoet_jax.video.blocks import Size3
from videopoet_jax.video.model import Config, VideoTokenizerModel, build, init_params
from videopoet_jax.video.quantizers import make_quantizer
from videopoet_jax.video.streaming import Piece, Stream

MODEL_TYPE = "videopoet_video_tokenizer"
FOLDER = "video_tokenizer"


class Encoded(NamedTuple):
    """`codes` in [0, vocabulary_size), one for each latent position; `num_frames` that were given."""

    codes: Int[Array, "*b t h w"]
    num_frames: int


class VideoTokenizer:
    """A video tokenizer with its parameters.

    Args:
        config: the fields of `VideoTokenizerModel`.
        params: its parameters, unboxed.
        dtype: what it computes in; None: bfloat16 on accelerators, float32 on CPU.
        chunk_frames: frames of a film computed at once, a multiple of the stride in time; None: 16 or a few fewer. The
            codes of a film depend on it (by rounding), not on the pieces that the film came in.
    """

    def __init__(
        self, config: Config, params: Mapping[str, Any], dtype: str | None = None, *, chunk_frames: int | None = None
    ) -> None:
        self.config = {key: dict(v) if isinstance(v, Mapping | ConfigDict) else v for key, v in config.items()}
        self.model = build(config)
        self.dtype = jnp.dtype(compute_dtype(dtype))
        self.params = cast_network(dict(params), self.dtype)
        self._stream = Stream(self.model, self.dtype, chunk_frames)

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike,
        dtype: str | None = None,
        mesh: Mesh | None = None,
        *,
        chunk_frames: int | None = None,
    ) -> "VideoTokenizer":
        """A shipped name ("nano") or a directory that `save_pretrained` wrote; with a mesh the weights are spread.

        Raises:
            FileNotFoundError: no such name or directory, or no weights in it.
            ValueError: no name and no path, a config or weights that are none, or that do not fit one another.
        """
        directory = resolve(name_or_dir, FOLDER)
        fields = {f.name for f in dataclasses.fields(VideoTokenizerModel)} - {"parent", "name"}
        config = read_config(directory, MODEL_TYPE, fields)
        params = place(open_tree(directory), functools.partial(init_params, build(config)), mesh, directory)
        return cls(config, params, dtype, chunk_frames=chunk_frames)

    def with_params(self, params: Mapping[str, Any]) -> "VideoTokenizer":
        """The same tokenizer, and the same compiled programs, with other parameters."""
        other = copy.copy(self)
        other.params = cast_network(dict(params), self.dtype)
        return other

    def save_pretrained(
        self, directory: str | os.PathLike, dtype: str = "bfloat16", max_shard_size: int | str = SHARD_SIZE
    ) -> None:
        """Writes config.json and model.safetensors, or shards of it (`pretrained.saving`)."""
        save_params(directory, self.params, dtype, max_shard_size)
        write_config(directory, MODEL_TYPE, self.config)  # last: a directory with a config is whole

    @property
    def vocabulary_size(self) -> int:
        """Codes are 0 … vocabulary_size - 1."""
        return make_quantizer(self.model.quantizer).size

    @property
    def stride(self) -> Size3:
        """Frames, height and width of pixels that one further latent stands for."""
        return self.model.stride

    def filled_frames(self, frames: int) -> int:
        """Frames that a clip is filled up to, see `VideoTokenizerModel`."""
        return self.model.filled_frames(frames)

    def grid(self, frames: int, height: int, width: int) -> Size3:
        """Latent grid of a clip, see `VideoTokenizerModel`."""
        return self.model.grid(frames, height, width)

    def encode(self, video: np.ndarray | Array) -> Encoded:
        """Frames → codes: uint8, one clip [t h w 3] or a batch [b t h w 3]; any number of frames (see above).

        The clip is computed at once. `encode_pieces` computes it chunk by chunk, which rounds differently: a code whose
        latent lies on the border of two may then be the other one.

        Raises:
            ValueError: no such array, no clip or frame in it, or sides that are no multiples of their strides.
        """
        frames = _checked_pixels(video, "[t h w 3]", "[b t h w 3]").shape[-4]
        self.grid(*video.shape[-4:-1])
        missing = self.filled_frames(frames) - frames
        batch = video[None] if video.ndim == 4 else video
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[:, -1:], missing, axis=1)], axis=1)
        codes, _ = self._stream.encode_chunk(self.params, {}, batch, chunk="whole")
        return Encoded(codes[0] if video.ndim == 4 else codes, frames)

    def decode(self, codes: np.ndarray | Array, num_frames: int | None = None) -> UInt8[np.ndarray, "*b t h w 3"]:
        """Codes → frames: integers, one clip [t h w] or a batch [b t h w]; the first `num_frames`, or all.

        Raises:
            ValueError: no such array, a code outside the vocabulary, or more frames than the codes hold.
        """
        self._checked_codes(codes, "[t h w]", "[b t h w]")
        if codes.size == 0:
            raise ValueError(f"codes {list(codes.shape)}: there are none; encode a clip first.")
        batch = codes[None] if codes.ndim == 3 else codes
        video, _ = self._stream.decode_chunk(self.params, {}, jnp.asarray(batch, jnp.int32), chunk="whole")
        video = np.asarray(video)
        if num_frames is not None and not 1 <= num_frames <= video.shape[1]:
            raise ValueError(f"num_frames {num_frames}: these codes are {video.shape[1]} frames; use 1 to as many.")
        video = video[:, :num_frames]
        return video[0] if codes.ndim == 3 else video

    def encode_pieces(self, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[Int[np.ndarray, "_t2 h2 w2"]]:
        """The codes of a film that comes in pieces of any lengths, in constant memory; `streaming` says how.

        Raises:
            ValueError: a piece that is not uint8 [t h w 3] or of another size than the one before, or sides that are no
                multiples of their strides.
        """
        return self._stream.encode(self.params, (_checked_pixels(piece, "[t h w 3]") for piece in pieces))

    def decode_pieces(self, pieces: Iterable[Int[np.ndarray, "_t h w"]]) -> Iterator[UInt8[np.ndarray, "_t2 h2 w2 3"]]:
        """The frames of codes that come in pieces of any lengths, in constant memory.

        Raises:
            ValueError: a piece that is not integers [t h w] or of another size than the one before, or a code outside
                the vocabulary.
        """
        return self._stream.decode(self.params, (self._checked_codes(piece, "[t h w]") for piece in pieces))

    def reconstruct_pieces(self, pieces: Iterable[UInt8[np.ndarray, "_t h w 3"]]) -> Iterator[Piece]:
        """A film that comes in pieces of any lengths beside its copy, chunk by chunk: as many frames as were given.

        Raises:
            ValueError: as `encode_pieces`.
        """
        return self._stream.reconstruct(self.params, (_checked_pixels(piece, "[t h w 3]") for piece in pieces))

    def _checked_codes(self, codes: Any, *shapes: str) -> np.ndarray | Array:
        """The codes, if they are integers of this tokenizer in one of these shapes."""
        wanted = f"give integers {' or '.join(shapes)}"
        if not isinstance(codes, np.ndarray | Array):
            raise ValueError(f"codes of type {type(codes).__name__}: {wanted}; of what `encode` returns, its `.codes`.")
        if not jnp.issubdtype(codes.dtype, jnp.integer) or not fits(codes, *shapes):
            raise ValueError(f"codes {codes.dtype} {list(codes.shape)}: {wanted}.")
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        if low < 0 or high >= self.vocabulary_size:
            raise ValueError(
                f"codes {low} … {high}: must lie in 0 … {self.vocabulary_size - 1}; use its own tokenizer."
            )
        return codes


def _checked_pixels(video: Any, *shapes: str) -> np.ndarray | Array:
    """The frames, if they are uint8 in one of these shapes; a batch has at least one clip."""
    wanted = f"give uint8 {' or '.join(shapes)}."
    if not isinstance(video, np.ndarray | Array):
        raise ValueError(f"video of type {type(video).__name__}: {wanted}")
    if video.dtype != np.uint8 or not fits(video, *shapes) or video.shape[-1] != 3:
        raise ValueError(f"video {video.dtype} {list(video.shape)}: {wanted}")
    if video.ndim == 5 and len(video) == 0:
        raise ValueError(f"video {list(video.shape)}: a batch of no clips; give at least one.")
    return video
