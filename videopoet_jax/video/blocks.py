"""What the encoder and the decoder are made of: per-frame group normalisation, residual blocks, carried convolutions.

`chunk` says how a clip arrives. "whole": all of it at once. "first", then "next" any number of times: in pieces, each
causal convolution keeping the frames that it will need again in the variable collection `past`, which the caller passes
from call to call.
"""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from videopoet_jax.layers.conv import Conv3D, carry, past_length
from videopoet_jax.parallel.axes import partitioned

Chunk = Literal["whole", "first", "next"]
Size3 = tuple[int, int, int]

EPSILON = 1e-6
CLIP_AXES = ("batch", "frames", "height", "width", "activation_channels")  # of what lies between two stages


class CarriedConv3D(Conv3D):
    """A convolution that, where it is causal, can also be fed chunk by chunk."""

    use_bias: bool = True

    def __call__(self, x: Float[Array, "b t h w c"], chunk: Chunk) -> Float[Array, "b t2 h2 w2 d"]:
        frames = past_length(self.kernel_size[0], self.strides[0])
        if chunk == "whole":
            return super().__call__(x)
        if frames == 0:  # an empty past still tells a stride where the last chunk ended
            return super().__call__(x, carry(x, None, 0) if chunk == "next" else None)
        past = self.get_variable("past", "frames") if chunk == "next" else None
        self.put_variable("past", "frames", carry(x, past, frames))
        return super().__call__(x, past)


class Moments(NamedTuple):
    """Of each channel's group, in float32: what is taken away, and what the rest is multiplied by."""

    mean: Float[Array, "b t 1 1 c"]
    inverse_deviation: Float[Array, "b t 1 1 c"]


def moments(x: Float[Array, "b t h w c"], groups: int, causal: bool) -> Moments:
    """Statistics of each frame alone: over (t, h, w) the past would see the future.

    A model that is not causal takes those of the whole clip, as MAGVIT does.
    """
    x32 = x.astype(jnp.float32)
    # Moments of channels by plain sums over pixels, groups after. They are taken around one of the pixels: around zero,
    # what varies little beside its mean would be rounded to a variance of nothing, and a thousandfold be let through.
    around = x32[:, :, :1, :1]
    apart = x32 - around
    means = jnp.mean(apart, axis=(2, 3), keepdims=True)
    variances = jnp.mean(jnp.square(apart), axis=(2, 3), keepdims=True) - jnp.square(means)
    means = means + around
    mean = over_groups(means, groups, causal)
    variance = over_groups(variances + jnp.square(means - mean), groups, causal)
    return Moments(mean, lax.rsqrt(jnp.maximum(variance, 0.0) + EPSILON))


def over_groups(x: Float[Array, "b t 1 1 c"], groups: int, causal: bool) -> Float[Array, "b t 1 1 c"]:
    """The mean of each channel's group, which is of one frame, or of all where the model is not causal."""
    grouped = x.reshape(*x.shape[:4], groups, -1)
    mean = jnp.mean(grouped, axis=-1 if causal else (1, -1), keepdims=True)
    return jnp.broadcast_to(mean, grouped.shape).reshape(x.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def group_norm(
    x: Float[Array, "b t h w c"], scale: Float[Array, " c"], bias: Float[Array, " c"], groups: int, causal: bool
) -> Float[Array, "b t h w c"]:
    """Group normalisation, then a scale and a bias for each channel.

    Its gradient is written out: both sums over pixels that it needs are shared by x, scale and bias.
    """
    return _group_norm_forward(x, scale, bias, groups, causal)[0]


def _group_norm_forward(x, scale, bias, groups, causal):
    m = moments(x, groups, causal)
    normal = ((x.astype(jnp.float32) - m.mean) * m.inverse_deviation).astype(x.dtype)
    return normal * scale.astype(x.dtype) + bias.astype(x.dtype), (x, scale, bias, m)


def _group_norm_backward(groups, causal, saved, dy):
    x, scale, bias, m = saved
    dy32, apart = dy.astype(jnp.float32), x.astype(jnp.float32) - m.mean
    pixels = x.shape[2] * x.shape[3]
    d_bias, d_scale = (jnp.sum(g, axis=(2, 3), keepdims=True) for g in (dy32, dy32 * apart))
    d_scale = d_scale * m.inverse_deviation
    along = over_groups(d_scale * scale, groups, causal) / pixels
    level = over_groups(d_bias * scale, groups, causal) / pixels
    dx = m.inverse_deviation * (dy32 * scale - level - apart * (m.inverse_deviation * along))
    d_scale, d_bias = (jnp.sum(d, axis=(0, 1, 2, 3)) for d in (d_scale, d_bias))
    return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(bias.dtype)


group_norm.defvjp(_group_norm_forward, _group_norm_backward)


def normalize(x: Float[Array, "b t h w c"], groups: int, causal: bool) -> Float[Array, "b t h w c"]:
    """Group normalisation alone."""
    return group_norm(x, jnp.ones(x.shape[-1]), jnp.zeros(x.shape[-1]), groups, causal)


class GroupNorm(nn.Module):
    """`group_norm` with its own scale and bias."""

    groups: int
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        scale = self.param("scale", partitioned(nn.initializers.ones_init(), "norm"), (x.shape[-1],), jnp.float32)
        bias = self.param("bias", partitioned(nn.initializers.zeros_init(), "norm"), (x.shape[-1],), jnp.float32)
        return group_norm(x, scale, bias, self.groups, self.causal)


class ResBlock(nn.Module):
    """(GroupNorm, swish, conv) twice, beside the identity or, where the width changes, a 1³ convolution."""

    features: int
    groups: int
    kernel_time: int
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], chunk: Chunk) -> Float[Array, "b t h w d"]:
        conv, norm = partial(CarriedConv3D, causal=self.causal), partial(GroupNorm, self.groups, self.causal)
        kernel, once = (self.kernel_time, 3, 3), (1, 1, 1)
        y = nn.swish(norm(name="norm1")(x))
        y = conv(self.features, kernel, once, name="conv1")(y, chunk)
        y = nn.swish(norm(name="norm2")(y))
        # Not in the paper; ours: a fresh block is the identity, and learns sooner.
        zeros = nn.initializers.zeros_init()
        y = conv(self.features, kernel, once, kernel_init=zeros, name="conv2")(y, chunk)
        if x.shape[-1] != self.features:
            x = conv(self.features, once, once, name="shortcut")(x, chunk)
        return x + y


def residual_block(remat: bool) -> type[ResBlock]:
    """The block, or one whose activations are computed again in the backward pass instead of being kept."""
    return nn.remat(ResBlock, static_argnums=(2,)) if remat else ResBlock
