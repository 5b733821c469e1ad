"""The video tokenizer: the Flax model, and `VideoTokenizer`, which holds parameters and speaks uint8 and codes.

tokenizer = VideoTokenizer.from_pretrained("nano")
codes = tokenizer.encode(video).codes          # uint8 [17 64 64 3] → int32 [5 4 4]
video = tokenizer.decode(codes)                # and back
"""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from videopoet_jax.layers.precision import compute_dtype
from videopoet_jax.parallel import place
from videopoet_jax.pretrained.files import load_params, read_config, resolve, save_params, write_config
from videopoet_jax.video import lfq
from videopoet_jax.video.blocks import Chunk, Size3
from videopoet_jax.video.decoder import Decoder
from videopoet_jax.video.encoder import Encoder

MODEL_TYPE = "videopoet_video_tokenizer"
FOLDER = "video_tokenizer"

Config = Mapping[str, Any] | ConfigDict


class Reconstruction(NamedTuple):
    """What one pass through encoder, quantizer and decoder gives; pixels in about [-1, 1]."""

    video: Float[Array, "b t h w 3"]
    z: Float[Array, "b t2 h2 w2 k"]
    indices: Int[Array, "b t2 h2 w2"]


class Encoded(NamedTuple):
    """`codes` in [0, vocabulary_size), one for each latent position."""

    codes: Int[Array, "*b t h w"]


class VideoTokenizerModel(nn.Module):
    """MAGVIT-v2: causal encoder, lookup-free quantizer, causal decoder. Per-stage fields run from pixels to latents.

    Fields: patch — pixels folded into channels before the first convolution (1 in time); strides — between stages;
    code_bits — k of the 2^k codes; groups — of every GroupNorm; kernel_time — taps in time of a stage's convolutions;
    encoder_widths, encoder_blocks, decoder_widths, decoder_blocks — channels and residual blocks of each stage;
    decoder_middle_blocks — those before the decoder's first AdaGN; upsample_kernel — of the convolutions before a
    depth-to-space; remat — compute the blocks' activations again in the backward pass.
    """

    patch: Size3
    strides: tuple[Size3, ...]
    code_bits: int
    groups: int
    kernel_time: tuple[int, ...]
    encoder_widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    decoder_middle_blocks: int
    decoder_blocks: tuple[int, ...]
    upsample_kernel: int
    remat: bool

    def setup(self) -> None:
        shared = dict(patch=self.patch, strides=self.strides, groups=self.groups, remat=self.remat)
        self.encoder = Encoder(
            widths=self.encoder_widths,
            blocks=self.encoder_blocks,
            kernel_time=self.kernel_time,
            code_bits=self.code_bits,
            **shared,
        )
        self.decoder = Decoder(
            widths=self.decoder_widths,
            middle_blocks=self.decoder_middle_blocks,
            blocks=self.decoder_blocks,
            kernel_time=self.kernel_time,
            upsample_kernel=self.upsample_kernel,
            **shared,
        )

    @property
    def stride(self) -> Size3:
        """Pixels per latent in time, height and width: the product of the patch and of all strides."""
        return tuple(math.prod(sizes) for sizes in zip(self.patch, *self.strides, strict=True))

    def encode(self, video: Float[Array, "b t h w 3"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 k"]:
        """Pixels in [-1, 1] → latents before quantization, float32 whatever the network computes in."""
        return self.encoder(video, chunk).astype(jnp.float32)

    def decode(self, codes: Float[Array, "b t h w k"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 3"]:
        """±1 codes → pixels in about [-1, 1]."""
        return self.decoder(codes, chunk)

    def __call__(self, video: Float[Array, "b t h w 3"]) -> Reconstruction:
        z = self.encode(video)
        quantized = lfq.quantize(z)
        return Reconstruction(self.decode(quantized.codes.astype(video.dtype)), z, quantized.indices)


def build(config: Config) -> VideoTokenizerModel:
    """The module of a config; lists (as JSON has them) become tuples."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value

    model = VideoTokenizerModel(**{key: frozen(value) for key, value in config.items()})
    stages = len(model.strides) + 1
    for name in ("kernel_time", "encoder_widths", "encoder_blocks", "decoder_widths", "decoder_blocks"):
        if len(getattr(model, name)) != stages:
            raise ValueError(
                f"{name} {getattr(model, name)}: {stages} stages have {stages} entries, strides one fewer."
            )
    if model.patch[0] != 1:
        raise ValueError(f"patch {model.patch}: the first frame stands alone, so a patch spans 1 frame; use strides.")
    return model


def init_params(model: VideoTokenizerModel, key: PRNGKeyArray) -> dict[str, Any]:
    """New parameters, boxed; they depend on no size of clip."""
    time, height, width = model.stride
    return model.init(key, jnp.zeros((1, 1 + time, height, width, 3)))["params"]


def to_pixels(video: UInt8[Array, "*b t h w 3"] | UInt8[np.ndarray, "*b t h w 3"]) -> Float[Array, "*b t h w 3"]:
    """0 … 255 → -1 … 1."""
    return jnp.asarray(video).astype(jnp.float32) / 127.5 - 1.0


def to_bytes(video: Float[Array, "*b t h w 3"]) -> UInt8[Array, "*b t h w 3"]:
    """-1 … 1 → 0 … 255, rounded and clipped."""
    return jnp.clip(jnp.round((video.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


class VideoTokenizer:
    """A video tokenizer with its parameters. It computes in `dtype`: bfloat16 on accelerators, float32 on CPU."""

    def __init__(self, config: Config, params: Mapping[str, Any], dtype: str | None = None) -> None:
        self.config = dict(config)
        self.model = build(config)
        self.dtype = jnp.dtype(compute_dtype(dtype))
        self.params = jax.tree.map(lambda p: jnp.asarray(p, self.dtype), dict(params))

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | os.PathLike, dtype: str | None = None, mesh: Mesh | None = None
    ) -> "VideoTokenizer":
        """A shipped name ("nano") or a directory that `save_pretrained` wrote; with a mesh the weights are spread."""
        directory = resolve(name_or_dir, FOLDER)
        fields = {f.name for f in dataclasses.fields(VideoTokenizerModel)} - {"parent", "name"}
        config = read_config(directory, MODEL_TYPE, fields)
        params = place(load_params(directory), functools.partial(init_params, build(config)), mesh, directory)
        return cls(config, params, dtype)

    def save_pretrained(self, directory: str | os.PathLike, dtype: str = "bfloat16") -> None:
        """Writes config.json and model.safetensors."""
        save_params(directory, jax.tree.map(np.asarray, self.params), dtype)
        write_config(directory, MODEL_TYPE, self.config)  # last: a directory with a config is whole

    @property
    def vocabulary_size(self) -> int:
        """2^bits: codes are 0 … vocabulary_size - 1."""
        return 2**self.model.code_bits

    @property
    def stride(self) -> Size3:
        """Frames, height and width of pixels that one further latent stands for."""
        return self.model.stride

    def grid(self, frames: int, height: int, width: int) -> Size3:
        """Latent grid of a clip: `(17, 64, 64) → (5, 4, 4)` at stride (4, 16, 16).

        Raises:
            ValueError: frames not 1 + stride·k, or a side that is no multiple of its stride.
        """
        time, *space = self.stride
        if frames < 1 or (frames - 1) % time:
            near = 1 + max(0, frames - 1) // time * time
            raise ValueError(
                f"{frames} frames: a clip has 1 + {time}·k (the first frame stands alone); use {near} or {near + time}."
            )
        for name, size, stride in zip(("height", "width"), (height, width), space, strict=True):
            if size < 1 or size % stride:
                below = size // stride * stride
                choice = f"{below} or {below + stride}" if below else f"{stride}"
                raise ValueError(f"{name} {size}: needs a multiple of {stride}; resize or crop to {choice}.")
        return 1 + (frames - 1) // time, height // space[0], width // space[1]

    def encode(self, video: np.ndarray | Array) -> Encoded:
        """Frames → codes: uint8, one clip [t h w 3] or a batch [b t h w 3]."""
        if video.ndim not in (4, 5) or video.shape[-1] != 3 or video.dtype != np.uint8:
            raise ValueError(f"video {video.dtype} {list(video.shape)}: give uint8 [t h w 3] or [b t h w 3].")
        self.grid(*video.shape[-4:-1])
        if video.ndim == 4:
            return Encoded(self._encode(self.params, video[None])[0])
        return Encoded(self._encode(self.params, video))

    def decode(self, codes: np.ndarray | Array) -> UInt8[np.ndarray, "*b t h w 3"]:
        """Codes → frames: integers, one clip [t h w] or a batch [b t h w]."""
        if codes.ndim not in (3, 4) or not jnp.issubdtype(codes.dtype, jnp.integer):
            raise ValueError(f"codes {codes.dtype} {list(codes.shape)}: give integers [t h w] or [b t h w].")
        if codes.size == 0:
            raise ValueError(f"codes {list(codes.shape)}: there are none; encode a clip first.")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.vocabulary_size:
            raise ValueError(
                f"codes {low} … {high}: must lie in 0 … {self.vocabulary_size - 1}; use its own tokenizer."
            )
        batch = codes[None] if codes.ndim == 3 else codes
        video = np.asarray(self._decode(self.params, jnp.asarray(batch, jnp.int32)))
        return video[0] if codes.ndim == 3 else video

    @functools.cached_property
    def _encode(self):
        def run(params, video):
            z = self.model.apply({"params": params}, to_pixels(video).astype(self.dtype), method="encode")
            return lfq.indices(z)

        return jax.jit(run)

    @functools.cached_property
    def _decode(self):
        def run(params, codes):
            bits = lfq.codes_from_indices(codes, self.model.code_bits).astype(self.dtype)
            return to_bytes(self.model.apply({"params": params}, bits, method="decode"))

        return jax.jit(run)
