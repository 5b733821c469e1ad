"""MAGVIT-v2's causal 3-D decoder: ±1 codes → pixels.

conv · residual blocks · per stage, from the coarsest to the finest: [AdaGN · residual blocks · conv + depth-to-space] ·
GroupNorm, swish, conv. An upsampling in time drops its first frame, so that 5 latents become 17 frames and 1 becomes 1.

MAGVIT's decoder, which came before it, is the same with `causal` off (no frame is dropped: 4 latents become 16 frames),
without AdaGN (`adaptive`), and with nearest upsampling + conv (`pooled`) in place of conv + depth-to-space.
"""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from videopoet_jax.layers.conv import depth_to_space
from videopoet_jax.parallel.axes import constrain
from videopoet_jax.video.blocks import CLIP_AXES, CarriedConv3D, Chunk, GroupNorm, Size3, normalize, residual_block


def upsample_nearest(x: Float[Array, "b t h w c"], factor: Size3, *, drop_first: bool) -> Float[Array, "b t2 h2 w2 c"]:
    """Repeat every position; in time repeat, then drop what lies before the first frame: 0 1 2 → 0 1 1 2 2."""
    for axis, times in enumerate(factor, start=1):
        x = jnp.repeat(x, times, axis=axis) if times > 1 else x
    return x[:, factor[0] - 1 :] if drop_first else x


class AdaptiveGroupNorm(nn.Module):
    """Group normalisation whose scale and bias at a position are a linear map of the code that it came from."""

    groups: int
    factor: Size3
    causal: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], codes: Float[Array, "b t2 h2 w2 k"], chunk: Chunk
    ) -> Float[Array, "b t h w c"]:
        width = x.shape[-1]
        # Not in the paper; ours: the map starts at zero, so a fresh decoder starts at plain normalisation.
        zeros, once = nn.initializers.zeros_init(), (1, 1, 1)
        conv = CarriedConv3D(2 * width, once, once, causal=self.causal, kernel_init=zeros, name="affine")
        affine = upsample_nearest(conv(codes, chunk), self.factor, drop_first=self.causal and chunk != "next")
        return normalize(x, self.groups, self.causal) * (1 + affine[..., :width]) + affine[..., width:]


class Decoder(nn.Module):
    """Fields with one entry per stage are in the encoder's order, pixels first; the decoder walks them backwards."""

    patch: Size3
    widths: tuple[int, ...]
    middle_blocks: int
    blocks: tuple[int, ...]
    strides: tuple[Size3, ...]
    groups: int
    kernel_time: tuple[int, ...]
    upsample_kernel: int
    causal: bool
    adaptive: bool
    pooled: bool
    remat: bool

    @nn.compact
    def __call__(self, codes: Float[Array, "b t h w k"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 3"]:
        block, conv = residual_block(self.remat), partial(CarriedConv3D, causal=self.causal)
        drop_first = self.causal and chunk != "next"
        once, factor = (1, 1, 1), (1, 1, 1)
        x = conv(self.widths[-1], (self.kernel_time[-1], 3, 3), once, name="conv_in")(codes, chunk)
        for i in range(self.middle_blocks):
            x = block(self.widths[-1], self.groups, self.kernel_time[-1], self.causal, name=f"middle_block{i}")(
                x, chunk
            )
        for stage in reversed(range(len(self.widths))):
            kernel_time = self.kernel_time[stage]
            if self.adaptive:
                x = AdaptiveGroupNorm(self.groups, factor, self.causal, name=f"stage{stage}_norm")(x, codes, chunk)
            for i in range(self.blocks[stage]):
                x = block(self.widths[stage], self.groups, kernel_time, self.causal, name=f"stage{stage}_block{i}")(
                    x, chunk
                )
            x = constrain(x, *CLIP_AXES)
            if stage > 0:
                stride, size = self.strides[stage - 1], self.upsample_kernel
                conv_up = partial(conv, kernel_size=(min(size, kernel_time), size, size), strides=once)
                if self.pooled:
                    x = upsample_nearest(x, stride, drop_first=drop_first)
                    x = conv_up(self.widths[stage], name=f"stage{stage}_up")(x, chunk)
                else:
                    x = conv_up(self.widths[stage] * math.prod(stride), name=f"stage{stage}_up")(x, chunk)
                    x = depth_to_space(x, stride, drop_first=drop_first)
                factor = tuple(f * s for f, s in zip(factor, stride, strict=True))
        x = nn.swish(GroupNorm(self.groups, self.causal, name="norm_out")(x))
        x = conv(3 * math.prod(self.patch), (self.kernel_time[0], 3, 3), once, name="conv_out")(x, chunk)
        return depth_to_space(x, self.patch, drop_first=drop_first)
