"""The convolutional beginning of DPT-Hybrid: a ResNet-50 without its last stage, as BiT and ViT-Hybrid have it.

Pictures [b h w 3] → features at a quarter, an eighth and a sixteenth of the size. Kernels are standardised before use
(Qiao et al. 2019), norms are over groups, padding is TensorFlow's SAME. Sources: Kolesnikov et al. 2020 (BiT);
transformers, models/bit/modeling_bit.py, with layer_type "bottleneck"; timm's resnetv2_50 is the same.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

_CONV_EPSILON, _NORM_EPSILON = 1e-8, 1e-5


class Unit(nn.Module):
    """A convolution by a standardised kernel without bias, a group norm and, with `relu`, what is above zero of it."""

    features: int
    kernel: int
    stride: int
    groups: int
    relu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        mean = jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(kernel - mean), axis=(0, 1, 2), keepdims=True)
        kernel = (kernel - mean) * lax.rsqrt(variance + _CONV_EPSILON)
        strides, dimensions = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=dimensions)
        x = nn.GroupNorm(self.groups, epsilon=_NORM_EPSILON, use_fast_variance=False, name="norm")(x)
        return nn.relu(x) if self.relu else x


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 beside a shortcut, which is a unit of its own in the first block of a stage."""

    features: int
    stride: int
    groups: int
    first: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        inner = self.features // 4
        y = Unit(inner, 1, 1, self.groups, relu=True, name="unit1")(x)
        y = Unit(inner, 3, self.stride, self.groups, relu=True, name="unit2")(y)
        y = Unit(self.features, 1, 1, self.groups, relu=False, name="unit3")(y)
        if self.first:
            x = Unit(self.features, 1, self.stride, self.groups, relu=False, name="shortcut")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """`widths` and `depths` of the three stages: DPT-Hybrid's are (256, 512, 1024) and (3, 4, 9)."""

    stem: int
    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
        x = Unit(self.stem, 7, 2, self.groups, relu=True, name="stem")(x)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        stages = []
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 else 1
                x = Bottleneck(width, stride, self.groups, first=i == 0, name=f"stage{stage}_{i}")(x)
            stages.append(x)
        return stages
