"""MAGVIT-v2's causal 3-D decoder: ±1 codes → pixels.

conv · residual blocks · per stage, from the coarsest to the finest: [AdaGN · residual blocks · conv + depth-to-space] ·
GroupNorm, swish, conv. An upsampling in time drops its first frame, so that 5 latents become 17 frames and 1 becomes 1.
"""

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

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], codes: Float[Array, "b t2 h2 w2 k"], chunk: Chunk
    ) -> Float[Array, "b t h w c"]:
        width = x.shape[-1]
        # Not in the paper; ours: the map starts at zero, so a fresh decoder starts at plain normalisation.
        zeros, once = nn.initializers.zeros_init(), (1, 1, 1)
        affine = CarriedConv3D(2 * width, once, once, kernel_init=zeros, name="affine")(codes, chunk)
        affine = upsample_nearest(affine, self.factor, drop_first=chunk != "next")
        return normalize(x, self.groups) * (1 + affine[..., :width]) + affine[..., width:]


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
    remat: bool

    @nn.compact
    def __call__(self, codes: Float[Array, "b t h w k"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 3"]:
        block = residual_block(self.remat)
        drop_first = chunk != "next"
        once, factor = (1, 1, 1), (1, 1, 1)
        x = CarriedConv3D(self.widths[-1], (self.kernel_time[-1], 3, 3), once, name="conv_in")(codes, chunk)
        for i in range(self.middle_blocks):
            x = block(self.widths[-1], self.groups, self.kernel_time[-1], name=f"middle_block{i}")(x, chunk)
        for stage in reversed(range(len(self.widths))):
            kernel_time = self.kernel_time[stage]
            x = AdaptiveGroupNorm(self.groups, factor, name=f"stage{stage}_norm")(x, codes, chunk)
            for i in range(self.blocks[stage]):
                x = block(self.widths[stage], self.groups, kernel_time, name=f"stage{stage}_block{i}")(x, chunk)
            x = constrain(x, *CLIP_AXES)
            if stage > 0:
                stride, size = self.strides[stage - 1], self.upsample_kernel
                kernel = (min(size, kernel_time), size, size)
                width = self.widths[stage] * stride[0] * stride[1] * stride[2]
                x = CarriedConv3D(width, kernel, once, name=f"stage{stage}_up")(x, chunk)
                x = depth_to_space(x, stride, drop_first=drop_first)
                factor = tuple(f * s for f, s in zip(factor, stride, strict=True))
        x = nn.swish(GroupNorm(self.groups, name="norm_out")(x))
        pixels = 3 * self.patch[0] * self.patch[1] * self.patch[2]
        x = CarriedConv3D(pixels, (self.kernel_time[0], 3, 3), once, name="conv_out")(x, chunk)
        return depth_to_space(x, self.patch, drop_first=drop_first)
