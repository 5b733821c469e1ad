"""MAGVIT-v2's discriminator: a clip → one logit, high where the clip looks true.

conv 3³ · per stage [conv 3³, blur-pool, conv 3³ beside blur-pool, conv 1³] · conv 3³ · linear · linear 1. It sees the
whole clip at once, so nothing in it is causal:

    17×128×128 → 128 channels → 9×64×64, 256 → 5×32×32, 512 → 3×16×16 → 2×8×8 → 1×4×4, 512 → 512 → 1

Blur-pooling (Zhang 2019) weighs neighbours 1 2 1 before it takes every second one: a shifted clip is judged alike.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from videopoet_jax.layers.conv import Conv3D
from videopoet_jax.parallel.axes import constrain, partitioned
from videopoet_jax.video.blocks import CLIP_AXES

SLOPE = 0.2  # of LeakyReLU below zero (MAGVIT's)
GLOROT = nn.initializers.xavier_uniform()  # MAGVIT's start


def blur_pool(x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 c"]:
    """(x[2i−1] + 2·x[2i] + x[2i+1]) / 4 along time, height and width; beyond an edge the edge goes on: n → ceil(n / 2).

    `0 4 8 8 → (0 + 0 + 4)/4, (4 + 16 + 8)/4 = 1 7`
    """
    for axis in (1, 2, 3):
        if x.shape[axis] % 2:
            x = jnp.concatenate([x, lax.slice_in_dim(x, -1, None, axis=axis)], axis)
        # In pairs, not by strides, whose gradient is slow: (x[2i], x[2i+1]), and x[2i−1] is of the pair before.
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        here, behind = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in range(2))
        first, odd = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(behind, 0, -1, axis=axis)
        x = (jnp.concatenate([first, odd], axis) + 2 * here + behind) / 4
    return x


class Discriminator(nn.Module):
    """Fields: width — of the first convolution; multipliers — of it, a stage each, every stage halving all sides."""

    width: int
    multipliers: tuple[int, ...]

    @nn.compact
    def __call__(self, video: Float[Array, "b t h w 3"]) -> Float[Array, " b"]:
        x = _active(self._conv(self.width, 3, "conv_in")(video))
        for stage, multiplier in enumerate(self.multipliers):
            width = self.width * multiplier
            y = blur_pool(_active(self._conv(x.shape[-1], 3, f"stage{stage}_conv1")(x)))
            y = _active(self._conv(width, 3, f"stage{stage}_conv2")(y))
            x = self._conv(width, 1, f"stage{stage}_shortcut", bias=False)(blur_pool(x))
            x = constrain((x + y) / math.sqrt(2), *CLIP_AXES)
        x = _active(self._conv(x.shape[-1], 3, "conv_out")(x))
        # One frame is left of 17, and of one: pictures and clips share the linear layers. Not in the figure; ours: of
        # longer clips the mean over frames.
        x = jnp.mean(x, axis=1).reshape(x.shape[0], -1)
        x = _active(_linear(self.width * self.multipliers[-1], ("conv_in", "conv_out"), x, "linear1"))
        return _linear(1, ("conv_in", None), x, "linear2")[:, 0]

    def _conv(self, features: int, size: int, name: str, bias: bool = True) -> Conv3D:
        return Conv3D(features, (size,) * 3, (1, 1, 1), causal=False, use_bias=bias, kernel_init=GLOROT, name=name)


def _active(x: Array) -> Array:
    return nn.leaky_relu(x, SLOPE)


def _linear(features: int, axes: tuple[str | None, str | None], x: Array, name: str) -> Array:
    init = partitioned(GLOROT, *axes), partitioned(nn.initializers.zeros_init(), axes[1])
    return nn.Dense(features, dtype=x.dtype, kernel_init=init[0], bias_init=init[1], name=name)(x)
