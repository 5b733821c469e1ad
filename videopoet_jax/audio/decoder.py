"""SoundStream's decoder, the encoder's mirror: prod(strides) samples for every latent vector.

latents [b f d] → conv k7 (C·2^blocks) → for each stride, last first: transposed conv (channels halved), 3 residual
units → conv k7 (1) → waveform [b s]
"""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from videopoet_jax.audio.encoder import ResidualUnit, carried, conv, elu
from videopoet_jax.layers.conv import CausalConvTranspose1D
from videopoet_jax.parallel.axes import constrain


class CarriedTranspose1D(CausalConvTranspose1D):
    """A transposed convolution that can also be fed chunk by chunk."""

    def __call__(self, x: Float[Array, "b s c"]) -> Float[Array, "b s2 d"]:
        return super().__call__(x, carried(self, x, -(-self.kernel_size // self.stride) - 1))


class Decoder(nn.Module):
    """Latents to waveform; f frames give f·prod(strides) samples, each heard from frames up to its own."""

    channels: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    kernel_size: int

    @nn.compact
    def __call__(self, latents: Float[Array, "b f d"]) -> Float[Array, "b s"]:
        features = self.channels * 2 ** len(self.strides)
        x = conv(features, self.kernel_size, name="first")(latents)
        for block, stride in enumerate(reversed(self.strides)):
            features //= 2
            up = CarriedTranspose1D(
                features=features, kernel_size=2 * stride, stride=stride, use_bias=True, name=f"block{block}_up"
            )
            x = constrain(up(elu(x)), "batch", "samples", "activation_channels")
            for unit, dilation in enumerate(self.dilations):
                x = ResidualUnit(self.kernel_size, dilation, name=f"block{block}_unit{unit}")(x)
        return conv(1, self.kernel_size, name="last")(elu(x))[..., 0]
