"""Equal forms of one causal 3-D convolution, and the rule that takes the fastest for the platform, direction and shape.

XLA:CPU gives a 3-D convolution to a slow kernel and a 2-D one to a fast kernel, so on CPU time is folded away. With kt
time taps, z(i) the 2-D convolution with tap i, and x shifted by i frames written x(i):

    conv3d      the 3-D convolution as it stands                           accelerators
    fold_out    z = conv2d(x, taps side by side: c → kt·d); y = Σ z(i) shifted by i frames
    fold_in     y = conv2d(x(0) … x(kt−1) side by side: kt·c → d)
    matmul      a 1×1×1 kernel

Every form is linear in x and in the kernel, so each of the three products of training (forward, gradient of the input,
gradient of the kernel) may come from another form: the transpose of the form chosen for it.
tests/benchmarks/convolutions.py prints the table that `rule` was read from.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

Clips = Float[Array, "b t h w c"]
Kernel = Float[Array, "kt kh kw c d"]
Convolved = Float[Array, "b t2 h2 w2 d"]
Strides = tuple[int, int, int]
Span = tuple[int, int]  # zeros before and behind
_VIDEO = ("NDHWC", "DHWIO", "NDHWC")
_ORDER = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}  # of a sound, of a picture


class Choice(NamedTuple):
    """The form of each of the three products."""

    forward: str
    input_gradient: str
    kernel_gradient: str


def rule(kernel_size: tuple[int, int, int], strides: Strides) -> Choice:
    """The CPU's choice, from the table as measured on two cores with jaxlib 0.10.2; elsewhere it is conv3d."""
    if kernel_size == (1, 1, 1):
        return Choice("matmul", "matmul", "matmul")
    if kernel_size[0] == 1:
        return Choice("fold_in", "fold_in", "fold_in")  # one 2-D convolution; nothing to fold
    if strides[0] > 1:
        # fold_out would compute every tap at every frame, and use one in `stride` of them.
        return Choice("fold_in", "fold_in", "fold_in")
    return Choice("fold_out", "fold_in", "fold_out")


def same(k: int) -> Span:
    """Zeros before and behind a picture, whatever its size and the stride."""
    return (k - 1) // 2, k - 1 - (k - 1) // 2


def _frames_out(t: int, around: Span, kt: int, stride: int) -> int:
    return (t + sum(around) - kt) // stride + 1


def conv3d(x: Clips, kernel: Kernel, strides: Strides, around: Span) -> Convolved:
    """The plain form, which the others equal."""
    padding = [around, same(kernel.shape[1]), same(kernel.shape[2])]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_VIDEO)


def materialized(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x, on a CPU written to memory once, and its gradient too; XLA would compute them again for each of their readers.

    A convolution has two or three of those, and the transposed ones compute it with strides, a number at a time. It
    needs the option that `cli.main.tune_xla` sets, and does nothing without.
    """
    return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


class _Window(NamedTuple):
    """How a kernel lies on what it sees, along each of its axes. A dilation of 2 lays a zero between neighbours."""

    strides: tuple[int, ...]
    padding: tuple[Span, ...]
    dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]


def _plain(x: Array, kernel: Array, window: _Window) -> Array:
    """Sounds x [n s c] or pictures [n h w c] convolved with a kernel [… c d]."""
    strides, padding, *dilations = window
    return lax.conv_general_dilated(x, kernel, strides, padding, *dilations, dimension_numbers=_ORDER[x.ndim])


# The same with gradients that are such convolutions again. JAX would transpose it by naming other dimensions, for which
# XLA:CPU has no fast kernel; it puts them in order itself, but not in the branches of a `lax.cond` nor in loops.
_convolved = jax.custom_vjp(_plain, nondiff_argnums=(2,))


def _convolved_forward(x: Array, kernel: Array, window: _Window) -> tuple[Array, tuple[Array, Array]]:
    return _convolved(x, kernel, window), (x, kernel)


def _convolved_backward(window: _Window, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    if not dy.size:  # nothing came out, as of a sound shorter than a block
        return jnp.zeros_like(x), jnp.zeros_like(kernel)
    axes = range(x.ndim - 2)
    outer = tuple(axis + 1 for axis in axes)  # the same axes of x and dy

    def extents(sizes: tuple[int, ...], dilation: tuple[int, ...]) -> list[int]:
        return [(sizes[i] - 1) * dilation[i] + 1 for i in axes]

    n, k = extents(x.shape[1:], window.dilation), extents(kernel.shape, window.kernel_dilation)
    m, before = extents(dy.shape[1:], window.strides), [zeros[0] for zeros in window.padding]
    # dx[j] = Σ dy[o] · kernel[j + before − o·stride]: the kernel turned round, over dy with zeros between.
    around = tuple((k[i] - 1 - before[i], n[i] + before[i] - m[i]) for i in axes)
    turned = materialized(jnp.flip(kernel, tuple(axes)).swapaxes(-1, -2))
    by_input = _convolved(dy, turned, _Window(window.dilation, around, window.strides, window.kernel_dilation))
    # dkernel[i] = Σ dy[o] · x[o·stride + i − before]: dy is the kernel, and the examples are the channels.
    around = tuple((before[i], k[i] - 1 + m[i] - n[i] - before[i]) for i in axes)
    channels, examples = materialized(x.swapaxes(0, -1)), materialized(dy.transpose(*outer, 0, -1))
    by_kernel = _convolved(channels, examples, _Window(window.kernel_dilation, around, window.dilation, window.strides))
    return by_input, by_kernel.transpose(*outer, 0, -1)


_convolved.defvjp(_convolved_forward, _convolved_backward)


def _fast(x: Array, kernel: Array, window: _Window) -> Array:
    """`_convolved`, or `_plain` where several processes compute as one.

    Then the kernels' gradients, each a sum over all processes, would be so many sums in a branch, and XLA:CPU (jaxlib
    0.10.2) was seen to start them in another order in each process, which ends both.
    """
    return (_convolved if jax.process_count() == 1 else _plain)(x, kernel, window)


def _conv2d(x: Array, kernel: Array, strides: tuple[int, int]) -> Array:
    """The same 2-D convolution of every frame of x [b t h w c]."""
    window = _Window(strides, (same(kernel.shape[0]), same(kernel.shape[1])), (1, 1), (1, 1))
    y = _fast(x.reshape(-1, *x.shape[2:]), kernel, window)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def fold_out(x: Clips, kernel: Kernel, strides: Strides, around: Span) -> Convolved:
    """All taps of every frame at once, each added to the frame it belongs to: no zero is multiplied."""
    (kt, kh, kw, c, d), front = kernel.shape, around[0]
    t, out = x.shape[1], _frames_out(x.shape[1], around, kt, strides[0])
    z = _conv2d(x, kernel.transpose(1, 2, 3, 0, 4).reshape(kh, kw, c, kt * d), strides[1:])
    y = 0.0
    for tap in range(kt):
        first = -(-max(0, front - tap) // strides[0])  # the first output that this tap reaches
        start = first * strides[0] + tap - front
        part = z[:, start : t : strides[0], :, :, tap * d : (tap + 1) * d][:, : out - first]
        y = y + _padded(part, (first, out - first - part.shape[1]))
    return y


def fold_in(x: Clips, kernel: Kernel, strides: Strides, around: Span) -> Convolved:
    """All taps that meet at an output, side by side in the channels."""
    kt, kh, kw, c, d = kernel.shape
    out = _frames_out(x.shape[1], around, kt, strides[0])
    x = _padded(x, around)
    taps = [x[:, tap : tap + (out - 1) * strides[0] + 1 : strides[0]] for tap in range(kt)]
    taps = jnp.concatenate(taps, axis=-1) if kt > 1 else taps[0]
    return _conv2d(taps, kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * c, d), strides[1:])


def _padded(x: Array, around: Span) -> Array:
    return jnp.pad(x, ((0, 0), around, (0, 0), (0, 0), (0, 0))) if any(around) else x


def matmul(x: Clips, kernel: Kernel, strides: Strides, around: Span) -> Convolved:
    """A 1×1×1 kernel: the frames and pixels that the strides keep, times a matrix."""
    if kernel.shape[:3] != (1, 1, 1) or any(around):
        raise ValueError(
            f"kernel {kernel.shape[:3]}, {around} frames of zeros: 'matmul' needs (1, 1, 1) and none; take 'auto'."
        )
    return x[:, :: strides[0], :: strides[1], :: strides[2]] @ kernel[0, 0, 0]


FORMS: dict[str, Callable[[Clips, Kernel, Strides, Span], Convolved]] = {
    "conv3d": conv3d,
    "fold_out": fold_out,
    "fold_in": fold_in,
    "matmul": matmul,
}


def _on_cpu(name: str, x: Array, kernel: Array, strides: Strides, around: Span) -> Array:
    """Form `name` where the program is compiled for CPU, conv3d elsewhere (also when a CPU compiles for a TPU)."""
    forms = [partial(FORMS[f], strides=strides, around=around) for f in (name, "conv3d")]
    return lax.platform_dependent(x, kernel, cpu=forms[0], default=forms[1])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def fastest(x: Clips, kernel: Kernel, strides: Strides, around: Span) -> Convolved:
    """The convolution, each product in the form that `rule` names. `around` counts the frames of zeros."""
    return _on_cpu(rule(kernel.shape[:3], strides).forward, x, kernel, strides, around)


def _fastest_forward(x: Array, kernel: Array, strides: Strides, around: Span) -> tuple[Array, tuple[Array, Array]]:
    return fastest(x, kernel, strides, around), (x, kernel)


def _gradient(form: str, of: int, strides: Strides, around: Span, *products: Array) -> Array:
    """From the input, the kernel and the gradient of the output, that of the input (`of` 0) or kernel (1)."""
    given, dy = [*products[:2]], products[2]
    product = lambda one: FORMS[form](*given[:of], one, *given[of + 1 :], strides, around)  # noqa: E731
    return jax.vjp(product, given[of])[1](dy)[0]


def _fastest_backward(strides: Strides, around: Span, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    def on_cpu(form: str, of: int) -> Array:
        """First chosen and then transposed: to transpose a choice takes JAX several times as long."""
        forms = [partial(_gradient, name, of, strides, around) for name in (form, "conv3d")]
        return lax.platform_dependent(*saved, dy, cpu=forms[0], default=forms[1])

    choice = rule(saved[1].shape[:3], strides)
    return on_cpu(choice.input_gradient, 0), on_cpu(choice.kernel_gradient, 1)


fastest.defvjp(_fastest_forward, _fastest_backward)


def convolve(x: Clips, kernel: Kernel, strides: Strides, around: Span, method: str) -> Convolved:
    """Convolve x between `around` frames of zeros, centred in space; `method` is "auto" or a form's name."""
    if method not in ("auto", *FORMS):
        raise ValueError(f"method {method!r}: not a form of convolution; use 'auto' or one of {sorted(FORMS)}.")
    # Taps that meet only those zeros are left out: a picture costs one tap, not kt.
    t, kt, (front, behind) = x.shape[1], kernel.shape[0], around
    last = strides[0] * (_frames_out(t, around, kt, strides[0]) - 1) - front  # where the last output begins
    first, end = min(max(0, -last), front), kt - min(max(0, kt - front - t), behind)
    kernel, around = kernel[first:end], (front - first, behind - (kt - end))
    return fastest(x, kernel, strides, around) if method == "auto" else FORMS[method](x, kernel, strides, around)


def convolve_sound(
    x: Float[Array, "b s c"], kernel: Float[Array, "k c d"], stride: int, dilation: int, front: int
) -> Float[Array, "b s2 d"]:
    """Convolve x [b s c] with a kernel [k c d] after `front` zeros."""
    return _sound(x, kernel, _Window((stride,), ((front, 0),), (1,), (dilation,)))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sound(x: Array, kernel: Array, window: _Window) -> Array:
    forms = [partial(form, window=window) for form in (_fast, _plain)]
    return lax.platform_dependent(x, kernel, cpu=forms[0], default=forms[1])


def _sound_forward(x: Array, kernel: Array, window: _Window) -> tuple[Array, tuple[Array, Array]]:
    return _sound(x, kernel, window), (x, kernel)


def _sound_backward(window: _Window, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    def gradients(form, x: Array, kernel: Array, dy: Array) -> tuple[Array, Array]:
        return jax.vjp(lambda x, kernel: form(x, kernel, window), x, kernel)[1](dy)

    forms = [partial(gradients, form) for form in (_fast, _plain)]
    return lax.platform_dependent(*saved, dy, cpu=forms[0], default=forms[1])  # as in `_fastest_backward`


_sound.defvjp(_sound_forward, _sound_backward)
