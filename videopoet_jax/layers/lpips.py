"""LPIPS (Zhang et al. 2018): how different two pictures look, by what an image classifier's layers make of them.

Pixels are scaled as the classifier is used to, features are taken behind five of its layers, their channels brought to
unit length at every position; squared differences are summed under a weight for each channel, averaged over positions,
added over layers. "vgg16" is the one to train with, "alexnet" the one to measure with (PerceptualSimilarity's README).

    lpips, params = load_lpips("weights/lpips_vgg16")
    lpips.apply({"params": params}, a, b)      a, b [n h w 3] in [-1, 1]  →  [n], 0 for equal pictures

In a training step, hand `params` in as an argument: what a jitted function closes over becomes part of the program. The
features of VGG16 are 270 numbers a pixel; wrap the call in `jax.checkpoint` where they do not fit.
"""

import os
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from videopoet_jax.pretrained.files import load_params, read_config

LEAST_SIDE = 32
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for pixels in [-1, 1]
# Under the root, where the authors add it to the length: the gradient stays finite at positions where all is zero.
_EPSILON = 1e-10


class Layer(NamedTuple):
    """Max pooling over `pool`×`pool`, two apart (0: none), a convolution, ReLU; `read`: its output is compared."""

    features: int
    kernel: int
    stride: int
    padding: int
    pool: int
    read: bool


def _vgg16() -> list[Layer]:
    """Simonyan and Zisserman 2014, configuration D: the last layer of each block is read."""
    blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    return [
        Layer(width, 3, 1, 1, pool=2 if block > 0 and i == 0 else 0, read=i == depth - 1)
        for block, (width, depth) in enumerate(blocks)
        for i in range(depth)
    ]


NETWORKS: dict[str, list[Layer]] = {
    "vgg16": _vgg16(),
    # Krizhevsky 2014, in one stream, as torchvision has it.
    "alexnet": [
        Layer(64, 11, 4, 2, pool=0, read=True),
        Layer(192, 5, 1, 2, pool=3, read=True),
        Layer(384, 3, 1, 1, pool=3, read=True),
        Layer(256, 3, 1, 1, pool=0, read=True),
        Layer(256, 3, 1, 1, pool=0, read=True),
    ],
}


def unit_length(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Channels over their Euclidean length, in float32."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)


def distance(a: Float[Array, "n h w c"], b: Float[Array, "n h w c"], weight: Float[Array, " c"]) -> Float[Array, " n"]:
    """The mean over positions of the weighted squared differences of unit channels."""
    return jnp.mean(jnp.square(unit_length(a) - unit_length(b)) @ weight.astype(jnp.float32), axis=(1, 2))


class _Conv(nn.Module):
    layer: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 d"]:
        size, stride, padding = self.layer.kernel, self.layer.stride, self.layer.padding
        kernel_shape = (size, size, x.shape[-1], self.layer.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), kernel_shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.layer.features,), jnp.float32)
        y = lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jax.nn.relu(y + bias.astype(x.dtype))


class LPIPS(nn.Module):
    """Computes features in the dtype of the pictures, distances in float32. `network` is a name of NETWORKS."""

    network: str

    @nn.compact
    def __call__(self, a: Float[Array, "n h w 3"], b: Float[Array, "n h w 3"]) -> Float[Array, " n"]:
        if self.network not in NETWORKS:
            raise ValueError(f"network {self.network!r}: unknown; use one of {', '.join(NETWORKS)}.")
        if min(a.shape[1:3]) < LEAST_SIDE:
            raise ValueError(
                f"{a.shape[1]}×{a.shape[2]} pictures: LPIPS needs sides of at least {LEAST_SIDE}; give larger ones."
            )
        scale, shift = (jnp.asarray(values, jnp.float32) for values in (_SCALE, _SHIFT))
        # Two passes, not one over both: where only one of the two has a gradient, the other's backward pass falls away.
        a, b = (((x.astype(jnp.float32) - shift) / scale).astype(x.dtype) for x in (a, b))
        total, heads = jnp.zeros(a.shape[0], jnp.float32), 0
        for i, layer in enumerate(NETWORKS[self.network]):
            conv = _Conv(layer, name=f"conv{i}")
            a, b = (conv(pool(x, layer.pool)) for x in (a, b))
            if layer.read:
                total += distance(a, b, _Head(layer.features, name=f"head{heads}")())
                heads += 1
        return total


class _Head(nn.Module):
    features: int

    @nn.compact
    def __call__(self) -> Float[Array, " c"]:
        even = nn.initializers.constant(1 / self.features)
        return self.param("weight", even, (self.features,), jnp.float32)


def pool(x: Float[Array, "n h w c"], window: int) -> Float[Array, "n h2 w2 c"]:
    """The maxima of whole windows, two pixels apart; `window` 0 leaves the picture as it is."""
    return nn.max_pool(x, (window, window), strides=(2, 2)) if window else x


def load_lpips(directory: str | os.PathLike) -> tuple[LPIPS, dict]:
    """The module and its parameters out of a folder that `launch/fetch_weights.sh` wrote."""
    config = read_config(directory, "lpips", ["network"])
    return LPIPS(**config), load_params(directory)
