"""SoundStream's discriminators: three that hear the waveform, one that sees its spectrum.

    waveform [b s], also its ½ and ¼ rate → conv k15 → 4 grouped convs k41, stride 4 → conv k5 → conv k3 → logits [b n]
    STFT [b f 512 2] → conv 7×7 → 6 residual blocks, frequency halved by each, time by every other
                     → conv over all frequencies that are left → logits [b n]

Every net says for each stretch of time how true it sounds (logits), and what it saw on the way (features), by which
feature matching teaches the model. [SS] gives the structure; the waveform nets' kernels are those of MelGAN, whose nets
they are; LeakyReLU 0.2 too. There is no weight normalisation. Ours: the waveform nets' convolutions pad the past only,
as all of ours over sound do, which shifts their logits in time; the highest frequency is left out, so that 512 divides.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from videopoet_jax.audio.spectra import stft
from videopoet_jax.layers.conv import CausalConv1D, Conv2D
from videopoet_jax.parallel.axes import constrain

SLOPE = 0.2  # [c] of LeakyReLU


class DiscriminatorOutput(NamedTuple):
    """One net's opinion of a batch of sounds."""

    logits: Float[Array, "b n"]
    features: tuple[Array, ...]  # every layer's activations but the logits


def leaky(x: Array) -> Array:
    return nn.leaky_relu(x, SLOPE)


def halved(waveform: Float[Array, "b s"]) -> Float[Array, "b s2"]:
    """Half the rate: means of four samples, two apart.  `1 1 1 1 → (0 1 1 1)/4, (1 1 1 0)/4`"""
    even = jnp.pad(waveform, ((0, 0), (1, 1 + waveform.shape[1] % 2)))
    pairs = even[:, :-1:2] + even[:, 1::2]
    return (pairs[:, :-1] + pairs[:, 1:]) / 4


class WaveformNet(nn.Module):
    """Logits every stride^4 samples.

    Attributes:
        widths: channels of the first convolution and of each grouped one.
        kernels: of the first convolution, the grouped ones, the next and the last.
        stride: of the grouped ones.
        group: channels that one group of outputs sees.
    """

    widths: tuple[int, ...]
    kernels: tuple[int, int, int, int]
    stride: int
    group: int

    @nn.compact
    def __call__(self, waveform: Float[Array, "b s"]) -> DiscriminatorOutput:
        def conv(x: Array, features: int, kernel: int, name: str, stride: int = 1, groups: int = 1) -> Array:
            layer = CausalConv1D(
                features=features,
                kernel_size=kernel,
                stride=stride,
                dilation=1,
                groups=groups,
                use_bias=True,
                name=name,
            )
            return layer(x)

        first, grouped, next_, last = self.kernels
        features = [leaky(conv(waveform[..., None], self.widths[0], first, "first"))]
        for i, width in enumerate(self.widths[1:]):
            groups = features[-1].shape[-1] // self.group
            x = leaky(conv(features[-1], width, grouped, f"grouped{i}", self.stride, groups))
            features.append(constrain(x, "batch", "samples", "activation_channels"))
        features.append(leaky(conv(features[-1], self.widths[-1], next_, "next")))
        return DiscriminatorOutput(conv(features[-1], 1, last, "last")[..., 0], tuple(features))


class SpectrumBlock(nn.Module):
    """conv 3×3 → conv of (stride + 2) taps with that stride, beside a 1×1 conv with it; [SS]'s residual unit."""

    features: int
    strides: tuple[int, int]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        def conv(features: int, kernel: tuple[int, int], strides: tuple[int, int], name: str) -> Conv2D:
            return Conv2D(features=features, kernel_size=kernel, strides=strides, use_bias=True, name=name)

        y = leaky(conv(x.shape[-1], (3, 3), (1, 1), "conv1")(x))
        taps = (self.strides[0] + 2, self.strides[1] + 2)
        y = conv(self.features, taps, self.strides, "conv2")(y)
        y = leaky(y + conv(self.features, (1, 1), self.strides, "skip")(x))
        return constrain(y, "batch", None, None, "activation_channels")


class SpectrumNet(nn.Module):
    """Logits of the STFT's real and imaginary parts.

    Attributes:
        window: of the STFT, whose hop is a quarter of it.
        kernel: of the first convolution.
        widths: channels of the first convolution and of each block.
        strides: of each block, time and frequency.
    """

    window: int
    kernel: int
    widths: tuple[int, ...]
    strides: tuple[tuple[int, int], ...]

    @nn.compact
    def __call__(self, waveform: Float[Array, "b s"]) -> DiscriminatorOutput:
        first = Conv2D(
            features=self.widths[0],
            kernel_size=(self.kernel, self.kernel),
            strides=(1, 1),
            use_bias=True,
            name="first",
        )
        features = [leaky(first(stft(waveform, self.window)))]
        for i, (width, strides) in enumerate(zip(self.widths[1:], self.strides, strict=True)):
            features.append(SpectrumBlock(width, strides, name=f"block{i}")(features[-1]))
        # A convolution over all the frequencies that are left: one product with what stands at a moment.
        moments = features[-1].reshape(*features[-1].shape[:2], -1)
        last = CausalConv1D(features=1, kernel_size=1, stride=1, dilation=1, groups=1, use_bias=True, name="last")
        return DiscriminatorOutput(last(moments)[..., 0], tuple(features))


class Discriminators(nn.Module):
    """All nets: one on the waveform at each of `scales` rates, halved from one to the next, and one on its STFT.

    Attributes:
        scales: waveform nets.
        waveform_widths, waveform_kernels, waveform_stride, waveform_group: of `WaveformNet`.
        stft_window, stft_kernel, stft_widths, stft_strides: of `SpectrumNet`.
    """

    scales: int
    waveform_widths: tuple[int, ...]
    waveform_kernels: tuple[int, int, int, int]
    waveform_stride: int
    waveform_group: int
    stft_window: int
    stft_kernel: int
    stft_widths: tuple[int, ...]
    stft_strides: tuple[tuple[int, int], ...]

    @nn.compact
    def __call__(self, waveform: Float[Array, "b s"]) -> list[DiscriminatorOutput]:
        outputs, sound = [], waveform
        for scale in range(self.scales):
            net = WaveformNet(
                tuple(self.waveform_widths),
                tuple(self.waveform_kernels),
                self.waveform_stride,
                self.waveform_group,
                name=f"waveform{scale}",
            )
            outputs.append(net(sound))
            sound = halved(sound)
        strides = tuple(tuple(pair) for pair in self.stft_strides)
        net = SpectrumNet(self.stft_window, self.stft_kernel, tuple(self.stft_widths), strides, name="stft")
        return [*outputs, net(waveform)]
