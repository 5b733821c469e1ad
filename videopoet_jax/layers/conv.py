"""Convolutions over video [b t h w c] and audio [b s c], causal in time, and the reshapes between depth and space.

**Time, 3-D.** Output i sees the frames up to and including i·stride, so the first frame stands alone and 1+4k frames
stay 1+4k: k−1 zeros go in front of the first chunk. A later chunk of a stream gets `past`, the k−s frames before it:

    k = 3, s = 2      whole   0 0 | f0 f1 f2 f3 f4          →  (0 0 f0) (f0 f1 f2) (f2 f3 f4)
                      first   0 0 | f0 f1 f2                →  (0 0 f0) (f0 f1 f2)
                      then     f2 | f3 f4                   →  (f2 f3 f4)

**Time, 1-D.** Sound has no lone first sample: output i sees its whole block of s samples, so k−s zeros go in front
and n samples become floor(n / s). `past` is again the k−s samples before the chunk.

**Space.** (k−1)//2 zeros before and k−1−(k−1)//2 behind, whatever the stride and the size: h becomes ceil(h / s), and
a tile computes what the whole picture does. (XLA's and TensorFlow's SAME shifts the grid with the size's parity.)
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from videopoet_jax.layers import conv_forms
from videopoet_jax.layers.grouped import grouped_conv1d
from videopoet_jax.parallel.axes import partitioned

Initializer = jax.nn.initializers.Initializer
LEAST_SPLIT = 32  # ours


def carry(x: Array, past: Array | None, frames: int) -> Array:
    """The last `frames` frames of past + x (zeros where neither reaches), which the next chunk takes as its `past`."""
    joined = x if past is None else jnp.concatenate([past, x], axis=1)
    missing = max(0, frames - joined.shape[1])
    joined = jnp.pad(joined, [(0, 0), (missing, 0)] + [(0, 0)] * (x.ndim - 2))
    return joined[:, joined.shape[1] - frames :]


def past_length(kernel_size: int, stride: int, dilation: int = 1) -> int:
    """How many frames a causal convolution carries from chunk to chunk: k−s, never below none."""
    return max(0, (kernel_size - 1) * dilation + 1 - stride)


def _check_past(past: Array, kernel_size: int, stride: int, dilation: int = 1) -> None:
    need = past_length(kernel_size, stride, dilation)
    if past.shape[1] != need:
        raise ValueError(
            f"past of {past.shape[1]} frames: kernel {kernel_size}, stride {stride}, dilation {dilation} carry {need}; "
            f"take it from carry(x, past, {need})."
        )


def causal_conv3d(
    x: Float[Array, "b t h w c"],
    kernel: Float[Array, "kt kh kw c d"],
    *,
    strides: tuple[int, int, int] = (1, 1, 1),
    past: Float[Array, "b p h w c"] | None = None,
    method: str = "auto",
) -> Float[Array, "b t2 h2 w2 d"]:
    """Convolution, causal in time and centred in space; `past` (k−s frames) continues a stream.

    `method` is "auto", the fastest form for the platform and shape, or a form of `conv_forms` by name.
    """
    kt = kernel.shape[0]
    front, skip = kt - 1, 0
    if past is not None:
        _check_past(past, kt, strides[0])
        x = jnp.concatenate([past, x], axis=1) if past.shape[1] else x
        front, skip = 0, max(0, strides[0] - kt)
    return conv_forms.convolve(x[:, skip:], kernel, strides, (front, 0), method)


def centred_conv3d(
    x: Float[Array, "b t h w c"],
    kernel: Float[Array, "kt kh kw c d"],
    *,
    strides: tuple[int, int, int] = (1, 1, 1),
    method: str = "auto",
) -> Float[Array, "b t2 h2 w2 d"]:
    """Convolution centred in time as in space, for models that see a clip as a whole: t becomes ceil(t / s)."""
    return conv_forms.convolve(x, kernel, strides, conv_forms.same(kernel.shape[0]), method)


def causal_conv1d(
    x: Float[Array, "b s c"],
    kernel: Float[Array, "k c_group d"],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    past: Float[Array, "b p c"] | None = None,
) -> Float[Array, "b s2 d"]:
    """Causal convolution of n samples to floor(n / stride); `past` (k−s samples) continues a stream.

    Raises:
        ValueError: several groups and a dilation, which no model has together; a past of another length.
    """
    k = kernel.shape[0]
    front = past_length(k, stride, dilation)
    if past is not None:
        _check_past(past, k, stride, dilation)
        x, front = jnp.concatenate([past, x], axis=1), 0
    skip = max(0, stride - (k - 1) * dilation - 1)
    if groups == 1:
        return conv_forms.convolve_sound(x[:, skip:], kernel, stride, dilation, front)
    if dilation > 1:
        raise ValueError(f"{groups} groups with dilation {dilation}: groups are not dilated; give one or the other.")
    return grouped_conv1d(jnp.pad(x[:, skip:], ((0, 0), (front, 0), (0, 0))), kernel, stride, groups)


def causal_conv_transpose1d(
    x: Float[Array, "b s c"],
    kernel: Float[Array, "k c d"],
    *,
    stride: int,
    past: Float[Array, "b p c"] | None = None,
) -> Float[Array, "b s2 d"]:
    """Transposed convolution of n samples to n·stride; what would reach beyond the last block is dropped.

    Sample i·stride + p is the sum over m of x[i−m] · kernel[m·stride + p]: a plain causal convolution to stride·d
    channels, laid out in time. `past` is the ceil(k / stride) − 1 samples before the chunk.
    """
    k, c, d = kernel.shape
    taps = -(-k // stride)
    phases = jnp.pad(kernel, ((0, taps * stride - k), (0, 0), (0, 0))).reshape(taps, stride, c, d)
    # A convolution's last tap meets the present sample; here tap 0 does.
    phases = jnp.flip(phases, axis=0).transpose(0, 2, 1, 3).reshape(taps, c, stride * d)
    y = causal_conv1d(x, phases, past=past)
    return y.reshape(x.shape[0], x.shape[1] * stride, d)


def depth_to_space(
    x: Float[Array, "b t h w c"], block: tuple[int, int, int], *, drop_first: bool
) -> Float[Array, "b t2 h2 w2 c2"]:
    """Lay the channels (pt ph pw d) out in time, height and width.

    With `drop_first` the first pt−1 frames go, so that 1+k frames become 1+pt·k: right for the start of a clip, and
    wrong for the later chunks of a stream, where every frame has its pt successors.
    """
    (b, t, h, w, c), (pt, ph, pw) = x.shape, block
    if c % (pt * ph * pw):
        raise ValueError(f"{c} channels: block {block} needs a multiple of {pt * ph * pw}; widen the layer before it.")
    x = x.reshape(b, t, h, w, pt, ph, pw, -1).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(b, t * pt, h * ph, w * pw, -1)
    return x[:, pt - 1 :] if drop_first else x


def space_to_depth(x: Float[Array, "b t h w c"], block: tuple[int, int, int]) -> Float[Array, "b t2 h2 w2 c2"]:
    """Fold blocks of time, height and width into the channels (pt ph pw c): undoes depth_to_space."""
    (b, t, h, w, c), (pt, ph, pw) = x.shape, block
    if t % pt or h % ph or w % pw:
        raise ValueError(f"{(t, h, w)} frames, height, width: need multiples of {block}; crop or pad first.")
    x = x.reshape(b, t // pt, pt, h // ph, ph, w // pw, pw, c).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(b, t // pt, h // ph, w // pw, -1)


def channel_axis(channels: int, name: str) -> str | None:
    """The logical axis of so many channels; None where there are too few to be worth splitting over devices.

    Colours, a mono sound and the bits of a code would rarely divide, and their kernels are small anyway.
    """
    return name if channels >= LEAST_SPLIT else None


class _Conv(nn.Module):
    """Creates the kernel and adds the bias; computes in the dtype of its input."""

    features: int

    def _kernel(self, x: Array, shape: Sequence[int], axes: Sequence[str]) -> Array:
        channels = (channel_axis(shape[-2], "conv_in"), channel_axis(shape[-1], "conv_out"))
        init = partitioned(self.kernel_init, *axes, *channels)
        return self.param("kernel", init, tuple(shape), jnp.float32).astype(x.dtype)

    def _biased(self, y: Array) -> Array:
        if not self.use_bias:
            return y
        init = partitioned(nn.initializers.zeros_init(), channel_axis(self.features, "conv_out"))
        bias = self.param("bias", init, (self.features,), jnp.float32)
        return y + bias.astype(y.dtype)


class Conv3D(_Conv):
    """`causal_conv3d` or `centred_conv3d` with its own kernel and bias. `kernel_init` is LeCun's by default."""

    kernel_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    causal: bool
    use_bias: bool
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], past: Float[Array, "b p h w c"] | None = None
    ) -> Float[Array, "b t2 h2 w2 d"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self._kernel(x, shape, ("conv_t", "conv_h", "conv_w"))
        x = conv_forms.materialized(x)
        if self.causal:
            y = causal_conv3d(x, kernel, strides=tuple(self.strides), past=past)
        elif past is None:
            y = centred_conv3d(x, kernel, strides=tuple(self.strides))
        else:
            raise ValueError("past frames for a convolution that is centred in time: only a causal one takes any.")
        return conv_forms.materialized(self._biased(y))


class CausalConv1D(_Conv):
    """`causal_conv1d` with its own kernel and bias."""

    kernel_size: int
    stride: int
    dilation: int
    groups: int
    use_bias: bool
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b s c"], past: Float[Array, "b p c"] | None = None) -> Float[Array, "b s2 d"]:
        shape = (self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self._kernel(x, shape, ("conv_t",))
        y = causal_conv1d(x, kernel, stride=self.stride, dilation=self.dilation, groups=self.groups, past=past)
        return self._biased(y)


class CausalConvTranspose1D(_Conv):
    """`causal_conv_transpose1d` with its own kernel and bias."""

    kernel_size: int
    stride: int
    use_bias: bool
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b s c"], past: Float[Array, "b p c"] | None = None) -> Float[Array, "b s2 d"]:
        kernel = self._kernel(x, (self.kernel_size, x.shape[-1], self.features), ("conv_t",))
        return self._biased(causal_conv_transpose1d(x, kernel, stride=self.stride, past=past))


class Conv2D(_Conv):
    """A convolution centred in both dimensions, of a picture or a spectrogram; a side of h becomes ceil(h / s)."""

    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        kernel = self._kernel(x, (*self.kernel_size, x.shape[-1], self.features), ("conv_h", "conv_w"))
        y = causal_conv3d(x[:, None], kernel[None], strides=(1, *self.strides))[:, 0]
        return self._biased(y)
