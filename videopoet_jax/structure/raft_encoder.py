"""RAFT's two encoders: pictures [b h w 3] → features [b h/8 w/8 d].

A 7×7 convolution, three levels of two residual blocks, a 1×1 convolution. Sources: Teed and Deng 2020 (RAFT), section
3.1 and appendix B; princeton-vl/RAFT, core/extractor.py; torchvision, models/optical_flow/raft.py.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from videopoet_jax.layers.conv import Conv2D

_EPSILON = 1e-5  # PyTorch's, of both norms


def conv(features: int, kernel_size: tuple[int, int], name: str, stride: int = 1) -> Conv2D:
    """A convolution with bias, (k−1)/2 zeros around."""
    return Conv2D(features, kernel_size, (stride, stride), use_bias=True, name=name)


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each channel of each picture to mean 0 and variance 1; nothing is learnt."""
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2), keepdims=True)
    return (x - mean) * lax.rsqrt(variance + _EPSILON)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics. RAFT itself trains with them frozen after its first data set."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        width, zeros, ones = (x.shape[-1],), nn.initializers.zeros, nn.initializers.ones
        scale, bias = self.param("scale", ones, width, jnp.float32), self.param("bias", zeros, width, jnp.float32)
        mean, variance = self.param("mean", zeros, width, jnp.float32), self.param("variance", ones, width, jnp.float32)
        return (x - mean) * (scale * lax.rsqrt(variance + _EPSILON)) + bias


class Unit(nn.Module):
    """Convolution, norm ("instance", "batch" or "none") and, with `relu`, what is above zero of it."""

    features: int
    kernel: int
    stride: int
    norm: str
    relu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = conv(self.features, (self.kernel, self.kernel), "conv", self.stride)(x)
        if self.norm == "instance":
            x = instance_norm(x)
        elif self.norm == "batch":
            x = FrozenBatchNorm(name="norm")(x)
        return nn.relu(x) if self.relu else x


class Block(nn.Module):
    """Residual block: two 3×3 units, or with `bottleneck` 1×1, 3×3, 1×1 at a quarter of the width inside."""

    features: int
    stride: int
    norm: str
    bottleneck: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        if self.bottleneck:
            inner = self.features // 4
            shapes = [(inner, 1, 1), (inner, 3, self.stride), (self.features, 1, 1)]
        else:
            shapes = [(self.features, 3, self.stride), (self.features, 3, 1)]
        y = x
        for i, shape in enumerate(shapes, start=1):
            y = Unit(*shape, self.norm, relu=True, name=f"unit{i}")(y)
        if self.stride > 1:
            x = Unit(self.features, 1, self.stride, self.norm, relu=False, name="shortcut")(x)
        return nn.relu(x + y)


class Encoder(nn.Module):
    """`widths`: of the first convolution, of the three levels, of the output. The second and third level halve."""

    widths: tuple[int, int, int, int, int]
    norm: str
    bottleneck: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 d"]:
        x = Unit(self.widths[0], 7, 2, self.norm, relu=True, name="stem")(x)
        for level, (width, stride) in enumerate(zip(self.widths[1:4], (1, 2, 2), strict=True), start=1):
            for i in range(2):
                block = Block(width, stride if i == 0 else 1, self.norm, self.bottleneck, name=f"block{level}_{i}")
                x = block(x)
        return conv(self.widths[4], (1, 1), "out")(x)
