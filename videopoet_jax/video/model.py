"""The video tokenizer's Flax model, encoder · quantizer · decoder, and how to build one of a config.

Pixels go in and come out in [-1, 1]; `to_pixels` and `to_bytes` make them of uint8 and back.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from videopoet_jax.video.blocks import Chunk, Size3
from videopoet_jax.video.decoder import Decoder
from videopoet_jax.video.encoder import Encoder
from videopoet_jax.video.quantizers import Penalties, make_quantizer

Config = Mapping[str, Any] | ConfigDict


class Reconstruction(NamedTuple):
    """What one pass through encoder, quantizer and decoder gives; pixels in about [-1, 1]."""

    video: Float[Array, "b t h w 3"]
    z: Float[Array, "b t2 h2 w2 k"]
    indices: Int[Array, "b t2 h2 w2"]


class VideoTokenizerModel(nn.Module):
    """MAGVIT-v2: causal encoder, quantizer, causal decoder. Per-stage fields run from pixels to latents.

    Fields: patch — pixels folded into channels before the first convolution (1 in time); strides — between stages;
    quantizer — its name and fields (`quantizers`); causal — whether a frame sees only those before it; pooled —
    means and nearest neighbours between stages instead of learned resampling; adaptive — AdaGN in the decoder; groups —
    of every GroupNorm; kernel_time — taps in time of a stage's convolutions; encoder_widths, encoder_blocks,
    decoder_widths, decoder_blocks — channels and residual blocks of each stage; decoder_middle_blocks — those before
    the decoder's first AdaGN; upsample_kernel — of the convolutions of an upsampling; remat — compute the blocks'
    activations again in the backward pass.
    """

    patch: Size3
    strides: tuple[Size3, ...]
    quantizer: Config
    causal: bool
    pooled: bool
    adaptive: bool
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
        shared = dict(
            patch=self.patch,
            strides=self.strides,
            groups=self.groups,
            causal=self.causal,
            pooled=self.pooled,
            remat=self.remat,
        )
        self.codes = make_quantizer(self.quantizer)
        self.encoder = Encoder(
            widths=self.encoder_widths,
            blocks=self.encoder_blocks,
            kernel_time=self.kernel_time,
            channels=self.codes.channels,
            **shared,
        )
        self.decoder = Decoder(
            widths=self.decoder_widths,
            middle_blocks=self.decoder_middle_blocks,
            blocks=self.decoder_blocks,
            kernel_time=self.kernel_time,
            upsample_kernel=self.upsample_kernel,
            adaptive=self.adaptive,
            **shared,
        )

    @property
    def stride(self) -> Size3:
        """Pixels per latent in time, height and width: the product of the patch and of all strides."""
        return tuple(math.prod(sizes) for sizes in zip(self.patch, *self.strides, strict=True))

    def filled_frames(self, frames: int) -> int:
        """Frames that a clip is filled up to: at stride 4 `1 2 5 6 17 → 1 5 5 9 17`; not causal, `1 4 17 → 4 4 20`."""
        alone, time = int(self.causal), self.stride[0]
        return alone + -(-(frames - alone) // time) * time

    def grid(self, frames: int, height: int, width: int) -> Size3:
        """Latent grid of a clip: `(17, 64, 64) → (5, 4, 4)` at stride (4, 16, 16).

        Raises:
            ValueError: no frame, or a side that is no multiple of its stride.
        """
        time, *space = self.stride
        if frames < 1:
            raise ValueError(f"{frames} frames: there is nothing to encode; give at least one.")
        for name, size, stride in zip(("height", "width"), (height, width), space, strict=True):
            if size < 1 or size % stride:
                below = size // stride * stride
                choice = f"{below} or {below + stride}" if below else f"{stride}"
                raise ValueError(f"{name} {size}: needs a multiple of {stride}; resize or crop to {choice}.")
        return -(-self.filled_frames(frames) // time), height // space[0], width // space[1]

    def encode(self, video: Float[Array, "b t h w 3"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 k"]:
        """Pixels in [-1, 1] → latents before quantization, float32 whatever the network computes in."""
        return self.encoder(video, chunk).astype(jnp.float32)

    def decode(self, codes: Float[Array, "b t h w k"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 3"]:
        """What the quantizer makes of latents → pixels in about [-1, 1]."""
        return self.decoder(codes, chunk)

    def to_indices(self, video: Float[Array, "b t h w 3"], chunk: Chunk = "whole") -> Int[Array, "b t2 h2 w2"]:
        """Pixels in [-1, 1] → one code for each latent position."""
        return self.codes.indices(self.encode(video, chunk))

    def from_indices(
        self, index: Int[Array, "b t h w"], dtype: Any, chunk: Chunk = "whole"
    ) -> Float[Array, "b t2 h2 w2 3"]:
        """Codes → pixels in about [-1, 1], computed in `dtype`."""
        return self.decode(self.codes.lookup(index).astype(dtype), chunk)

    def penalties(self, z: Float[Array, "b t h w k"], inverse_temperature: float) -> Penalties:
        """The quantizer's terms of the training loss."""
        return self.codes.penalties(z, inverse_temperature)

    def __call__(self, video: Float[Array, "b t h w 3"]) -> Reconstruction:
        z = self.encode(video)
        quantized = self.codes(z)
        return Reconstruction(self.decode(quantized.codes.astype(video.dtype)), z, quantized.indices)


# Fields with an entry for each stage, and those with one number → the least that it may be.
PER_STAGE = {"kernel_time": 1, "encoder_widths": 1, "encoder_blocks": 0, "decoder_widths": 1, "decoder_blocks": 0}
NUMBERS = {"groups": 1, "decoder_middle_blocks": 0, "upsample_kernel": 1}
SWITCHES = ("causal", "pooled", "adaptive", "remat")


def build(config: Config) -> VideoTokenizerModel:
    """The module of a config; lists (as JSON has them) become tuples.

    Raises:
        ValueError: a field that is unknown, missing or of another kind; sizes that make no model (entries that are not
            one for each stage, groups that do not divide the widths, a patch in time); causal and pooled; a quantizer
            that `make_quantizer` refuses.
    """

    def frozen(value: Any) -> Any:
        if isinstance(value, Mapping | ConfigDict):
            return {key: frozen(v) for key, v in value.items()}
        return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value

    fields = {key: frozen(value) for key, value in config.items()}
    _check_fields(fields)
    return VideoTokenizerModel(**fields)


def _check_fields(fields: dict[str, Any]) -> None:
    """The `ValueError`s of `build`."""
    known = set(VideoTokenizerModel.__dataclass_fields__) - {"parent", "name"}
    if set(fields) != known:
        unknown, missing = sorted(set(fields) - known), sorted(known - set(fields))
        raise ValueError(f"model with unknown fields {unknown}, without {missing}; its fields are {sorted(known)}.")
    patch, strides, groups = fields["patch"], fields["strides"], fields["groups"]
    if not _integers(patch, least=1, count=3):
        raise ValueError(f"patch {patch!r}: needs 3 integers of 1 or more (frames, height, width), such as (1, 4, 4).")
    if patch[0] != 1:
        raise ValueError(f"patch {patch}: the first frame stands alone, so a patch spans 1 frame; use strides.")
    if not isinstance(strides, tuple) or not all(_integers(stride, least=1, count=3) for stride in strides):
        raise ValueError(
            f"strides {strides!r}: each needs 3 integers of 1 or more (frames, height, width), such as (2, 2, 2); 1 "
            f"leaves an axis as it is."
        )
    stages = len(strides) + 1
    for name, least in PER_STAGE.items():
        if not _integers(fields[name], least=least, count=stages):
            raise ValueError(
                f"{name} {fields[name]!r}: {stages} stages need {stages} integers of {least} or more; give one for "
                f"each, or other strides, of which there is one fewer."
            )
    for name, least in NUMBERS.items():
        if not _integers((fields[name],), least=least, count=1):
            raise ValueError(f"{name} {fields[name]!r}: needs an integer of {least} or more; give one.")
    common = math.gcd(*fields["encoder_widths"], *fields["decoder_widths"])
    if common % groups:
        widths = sorted({*fields["encoder_widths"], *fields["decoder_widths"]})
        choice = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
        raise ValueError(f"groups {groups}: must divide all widths, {widths}; choose one of {choice}.")
    for name in SWITCHES:
        if type(fields[name]) is not bool:
            raise ValueError(f"{name} {fields[name]!r}: needs True or False; give one.")
    if fields["pooled"] and fields["causal"]:
        raise ValueError("pooled and causal: a mean over frames sees ahead of the first; turn one of the two off.")
    make_quantizer(fields["quantizer"])


def _integers(value: Any, *, least: int, count: int) -> bool:
    """Whether it is a tuple of so many integers, each `least` or more."""
    return isinstance(value, tuple) and len(value) == count and all(type(v) is int and v >= least for v in value)


def init_params(model: VideoTokenizerModel, key: PRNGKeyArray) -> dict[str, Any]:
    """New parameters, boxed; they depend on no size of clip."""
    time, height, width = model.stride
    return model.init(key, jnp.zeros((1, time + model.causal, height, width, 3)))["params"]


def to_pixels(video: UInt8[Array, "*b t h w 3"] | UInt8[np.ndarray, "*b t h w 3"]) -> Float[Array, "*b t h w 3"]:
    """0 … 255 → -1 … 1."""
    return jnp.asarray(video).astype(jnp.float32) / 127.5 - 1.0


def to_bytes(video: Float[Array, "*b t h w 3"]) -> UInt8[Array, "*b t h w 3"]:
    """-1 … 1 → 0 … 255, rounded and clipped."""
    return jnp.clip(jnp.round((video.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
