"""MAGVIT-v2's causal 3-D encoder: pixels → one k-channel latent for each block of pixels.

conv · [residual blocks · strided conv] per stage · residual blocks · GroupNorm, swish, conv 1³. Latent frame 0 sees
pixel frame 0 alone, latent frame j sees the frames up to j·(stride in time). MAGVIT's encoder, which came before it, is
the same with `causal` off and a mean over each block (`pooled`) in place of the strided convolutions.
"""

from functools import partial

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from videopoet_jax.layers.conv import space_to_depth
from videopoet_jax.parallel.axes import constrain
from videopoet_jax.video.blocks import CLIP_AXES, CarriedConv3D, Chunk, GroupNorm, Size3, residual_block


class Encoder(nn.Module):
    """Fields with one entry per stage run from pixels to latents; `strides` has one entry fewer, between the stages."""

    patch: Size3
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    strides: tuple[Size3, ...]
    channels: int
    groups: int
    kernel_time: tuple[int, ...]
    causal: bool
    pooled: bool
    remat: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w 3"], chunk: Chunk = "whole") -> Float[Array, "b t2 h2 w2 k"]:
        block, conv = residual_block(self.remat), partial(CarriedConv3D, causal=self.causal)
        x = space_to_depth(x, self.patch)
        x = conv(self.widths[0], (self.kernel_time[0], 3, 3), (1, 1, 1), name="conv_in")(x, chunk)
        for stage, (width, kernel_time) in enumerate(zip(self.widths, self.kernel_time, strict=True)):
            for i in range(self.blocks[stage]):
                x = block(width, self.groups, kernel_time, self.causal, name=f"stage{stage}_block{i}")(x, chunk)
            x = constrain(x, *CLIP_AXES)
            if stage < len(self.strides) and self.pooled:
                x = nn.avg_pool(x, self.strides[stage], self.strides[stage])
            elif stage < len(self.strides):
                # The longer of the two stages' kernels: one tap with a stride in time would leave frames unseen.
                kernel = (max(kernel_time, self.kernel_time[stage + 1]), 3, 3)
                x = conv(width, kernel, self.strides[stage], name=f"stage{stage}_down")(x, chunk)
        x = nn.swish(GroupNorm(self.groups, self.causal, name="norm_out")(x))
        return conv(self.channels, (1, 1, 1), (1, 1, 1), name="conv_out")(x, chunk)
