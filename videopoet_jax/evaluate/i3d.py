"""I3D (Carreira and Zisserman 2017): clips → the 400 logits of Kinetics, in which Fréchet video distances are measured.

Inception-v1 with its kernels inflated to three dimensions, batch normalisation without scale behind every convolution.
The protocol is that of Unterthiner et al.'s code (frechet_video_distance.py, tensor RGB/inception_i3d/Mean:0), which
MAGVIT and VideoPoet (I3D on Kinetics-400) follow: frames stretched to 224×224 as TensorFlow 1's `resize_bilinear` does
(below), pixels in [-1, 1], all frames of a clip at once, the *logits* averaged over time; not the 1,024 features before
them.

The weights are a third party's copy of DeepMind's Hub module. What speaks for it (benchmarks/perceptual_twins.py):
12,689,984 weights, as OpenVINO counts; "playing cricket" at 98.9 % on a GIF of DeepMind's own test clip; of 64-frame
pieces of other films most are seen aright ("riding mountain bike", "surfing water", "contact juggling" for a dancer),
some are not (traffic is "recording music"). DeepMind gives a surer logit for the clip itself (25.9; here 17.6 on the
GIF), so identity with its checkpoint is likely, not proven. Pixels at [0, 1] are told nearly as well; [-1, 1] is the
protocol's.

    i3d, params = load_i3d("weights/i3d")
    logits = make_features(i3d)(params, clips)     uint8 [b t h w 3]  →  float32 [b 400]
"""

import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, UInt8

from videopoet_jax.layers.conv import centred_conv3d
from videopoet_jax.pretrained.files import load_params, read_config

SIDE, LEAST_FRAMES = 224, 9
_EPSILON = 1e-3  # Sonnet's batch normalisation
_DIMENSIONS = ("NTHWC", "THWIO", "NTHWC")

# Widths of each block: 1³ | 1³, 3³ | 1³, 3³ | pool, 1³. None: max pooling (window, strides).
_BLOCKS: dict[str, tuple[int, int, int, int, int, int] | None] = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "pool_4a": None,
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "pool_5a": None,
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
_POOLS = {"pool_4a": ((3, 3, 3), (2, 2, 2)), "pool_5a": ((2, 2, 2), (2, 2, 2))}


class Unit(nn.Module):
    """Convolution, batch normalisation by stored statistics, ReLU. Zeros around it as TensorFlow's SAME puts them."""

    features: int
    kernel_size: tuple[int, int, int]
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 d"]:
        shape, width = (*self.kernel_size, x.shape[-1], self.features), (self.features,)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, width, jnp.float32)
        mean = self.param("mean", nn.initializers.zeros, width, jnp.float32)
        variance = self.param("variance", nn.initializers.ones, width, jnp.float32)
        scale = lax.rsqrt(variance + _EPSILON)  # of each output channel, so it goes into the kernel
        y = convolve(x, (kernel * scale).astype(x.dtype), self.stride)
        return nn.relu(y + (bias - mean * scale).astype(x.dtype))


class Inception(nn.Module):
    """Four ways side by side, their channels joined."""

    widths: tuple[int, int, int, int, int, int]

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        w, one, three = self.widths, (1, 1, 1), (3, 3, 3)
        ways = [
            Unit(w[0], one, name="branch_0_a")(x),
            Unit(w[2], three, name="branch_1_b")(Unit(w[1], one, name="branch_1_a")(x)),
            Unit(w[4], three, name="branch_2_b")(Unit(w[3], one, name="branch_2_a")(x)),
            Unit(w[5], one, name="branch_3_b")(max_pool(x, three, one)),
        ]
        return jnp.concatenate(ways, axis=-1)


class I3D(nn.Module):
    """Pixels in [-1, 1] → logits."""

    classes: int

    @nn.compact
    def __call__(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b v"]:
        if video.shape[1] < LEAST_FRAMES:
            raise ValueError(f"{video.shape[1]} frames: I3D looks at {LEAST_FRAMES} or more; give longer clips.")
        x = Unit(64, (7, 7, 7), 2, name="conv3d_1a_7x7")(video)
        x = max_pool(x, (1, 3, 3), (1, 2, 2))
        x = Unit(64, (1, 1, 1), name="conv3d_2b_1x1")(x)
        x = Unit(192, (3, 3, 3), name="conv3d_2c_3x3")(x)
        x = max_pool(x, (1, 3, 3), (1, 2, 2))
        for name, widths in _BLOCKS.items():
            x = Inception(widths, name=name)(x) if widths else max_pool(x, *_POOLS[name])
        x = jnp.mean(x.astype(jnp.float32), axis=(2, 3))  # of 7×7 at 224×224, the window of the paper's average pooling
        x = jnp.mean((x[:, 1:] + x[:, :-1]) / 2, axis=1)  # its window in time is 2; the logits' mean over time
        return nn.Dense(self.classes, name="logits")(x)


def convolve(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c d"], stride: int
) -> Float[Array, "b t2 h2 w2 d"]:
    """A convolution with TensorFlow's SAME padding; on CPU time is folded into channels, as `layers.conv_forms` does.

    That one's padding is another where there are strides.
    """
    if stride == 1:
        return centred_conv3d(x, kernel)

    def plain(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, (stride,) * 3, "SAME", dimension_numbers=_DIMENSIONS)

    def folded(x: Array, kernel: Array) -> Array:
        kt, kh, kw, c, d = kernel.shape
        t, out = x.shape[1], -(-x.shape[1] // stride)
        around = max(0, (out - 1) * stride + kt - t)
        x = jnp.pad(x, ((0, 0), (around // 2, around - around // 2), (0, 0), (0, 0), (0, 0)))
        taps = [x[:, tap : tap + (out - 1) * stride + 1 : stride] for tap in range(kt)]
        frames = jnp.concatenate(taps, axis=-1).reshape(-1, *x.shape[2:4], kt * c)
        side_by_side = kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * c, d)
        y = lax.conv_general_dilated(
            frames, side_by_side, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y.reshape(x.shape[0], out, *y.shape[1:])

    return lax.platform_dependent(x, kernel, cpu=folded, default=plain)


def max_pool(
    x: Float[Array, "b t h w c"], window: tuple[int, int, int], strides: tuple[int, int, int]
) -> Float[Array, "b t2 h2 w2 c"]:
    """TensorFlow's SAME too; one axis after the other, which is a third of the comparisons."""
    for axis in range(3):
        size, stride = ([v if a == axis else 1 for a, v in enumerate(sizes)] for sizes in (window, strides))
        x = nn.max_pool(x, tuple(size), strides=tuple(stride), padding="SAME")
    return x


def prepare(video: UInt8[Array, "b t h w 3"]) -> Float[Array, "b t 224 224 3"]:
    """Stretched to 224×224, 0 … 255 → -1 … 1."""
    across = stretch(stretch(video.astype(jnp.float32), 2), 3)
    return across / 127.5 - 1


def stretch(x: Float[Array, "b t h w c"], axis: int) -> Float[Array, "b t h2 w2 c"]:
    """One side to 224, between neighbours, without smoothing: `0 10 → 0 … 10 10 …` (the second half stands still).

    As `tf.compat.v1.image.resize_bilinear` without `align_corners`: pixel i of the new side is at i·old/new of the old
    one, no half pixels. Against today's convention, which keeps centres, a picture of 64 is 0.36 of its pixels off.
    """
    old = x.shape[axis]
    place = np.arange(SIDE, dtype=np.float32) * np.float32(old / SIDE)
    before = np.floor(place).astype(np.int32)
    weight = (place - before).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    low, high = (jnp.take(x, np.minimum(i, old - 1), axis=axis) for i in (before, before + 1))
    return low + (high - low) * weight


def make_features(module: I3D) -> Callable[[Any, UInt8[Array, "b t h w 3"]], Float[Array, "b v"]]:
    """The jitted function `(params, clips) → logits`."""
    return jax.jit(lambda params, video: module.apply({"params": params}, prepare(jnp.asarray(video))))


def load_i3d(directory: str | os.PathLike) -> tuple[I3D, dict]:
    """The module and its parameters out of a folder that `launch/fetch_weights.sh` wrote."""
    config = read_config(directory, "i3d", ["classes"])
    return I3D(**config), load_params(directory)
