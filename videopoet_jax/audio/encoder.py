"""SoundStream's encoder: one vector for every prod(strides) samples, seen causally.

    waveform [b s] → conv k7 (C) → for each stride: 3 residual units, strided conv (channels doubled) → conv k3 (D)
    → latents [b f d]

ELU and no normalisation, so that a silent stretch is not amplified; every convolution looks only back.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from videopoet_jax.layers.conv import CausalConv1D, carry, past_length
from videopoet_jax.parallel.axes import constrain


def carried(module: nn.Module, x: Float[Array, "b s c"], samples: int) -> Float[Array, "b samples c"] | None:
    """What precedes x where sound comes chunk by chunk, so where the collection `past` is mutable; zeros at the start.

    It leaves there what the next chunk will need: the last `samples` samples.
    """
    if not samples or module.is_initializing() or not module.is_mutable_collection("past"):
        return None
    past = (
        module.get_variable("past", "samples")
        if module.has_variable("past", "samples")
        else jnp.zeros_like(carry(x, None, samples))
    )
    module.put_variable("past", "samples", carry(x, past, samples))
    return past


class CarriedConv1D(CausalConv1D):
    """A causal convolution that can also be fed chunk by chunk."""

    def __call__(self, x: Float[Array, "b s c"]) -> Float[Array, "b s2 d"]:
        return super().__call__(x, carried(self, x, past_length(self.kernel_size, self.stride, self.dilation)))


def conv(features: int, kernel_size: int, stride: int = 1, dilation: int = 1, **named: Any) -> CarriedConv1D:
    """A causal convolution as all of SoundStream uses it: biased, ungrouped."""
    sizes = {"features": features, "kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    return CarriedConv1D(**sizes, groups=1, use_bias=True, **named)


def elu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """x above 0, eˣ − 1 below; on CPU 2.3 times as fast as expm1's, and within a float32's rounding of 1 of it."""
    below = jnp.exp(jnp.where(x > 0, 0, x).astype(jnp.float32)) - 1
    return jnp.where(x > 0, x, below.astype(x.dtype))


class ResidualUnit(nn.Module):
    """x + conv k1 (ELU (dilated conv (ELU x))); a fresh one is the identity. (ours)"""

    kernel_size: int
    dilation: int

    @nn.compact
    def __call__(self, x: Float[Array, "b s c"]) -> Float[Array, "b s c"]:
        features = x.shape[-1]
        y = conv(features, self.kernel_size, dilation=self.dilation, name="dilated")(elu(x))
        return x + conv(features, 1, kernel_init=nn.initializers.zeros_init(), name="pointwise")(elu(y))


class Encoder(nn.Module):
    """Waveform to latents; s samples give floor(s / prod(strides)) frames."""

    channels: int
    dim: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    kernel_size: int

    @nn.compact
    def __call__(self, waveform: Float[Array, "b s"]) -> Float[Array, "b f d"]:
        features = self.channels
        x = conv(features, self.kernel_size, name="first")(waveform[..., None])
        for block, stride in enumerate(self.strides):
            for unit, dilation in enumerate(self.dilations):
                x = ResidualUnit(self.kernel_size, dilation, name=f"block{block}_unit{unit}")(x)
            features *= 2
            x = conv(features, 2 * stride, stride=stride, name=f"block{block}_down")(elu(x))
            x = constrain(x, "batch", "samples", "activation_channels")
        return conv(self.dim, 3, name="last")(elu(x))
