"""Finite scalar quantization (Mentzer et al. 2023): every channel is bounded and rounded to one of a few levels.

Levels (4, 3), z = [0.1, -5.0]: bounded to about [0.13, -1.0], rounded to [0, -1]
    digits   0 + 4//2 = 2, -1 + 3//2 = 0       index 2·1 + 0·4 = 2       codes 0/2 = 0.0, -1/1 = -1.0

There is no codebook to learn and none to collapse, so it has no losses of its own.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

# The bound reaches a thousandth beyond the outermost values; else the shift of two levels would be arctanh(1). This is
# vector-quantize-pytorch's form; the paper draws the bound in by as much, and shifts by tan.
MARGIN = 1e-3


def bound(z: Float[Array, "*n k"], levels: tuple[int, ...]) -> Float[Array, "*n k"]:
    """z → the interval whose rounding has `levels` values; an even number of them is shifted by a half."""
    widths = (jnp.asarray(levels, jnp.float32) - 1) * (1 + MARGIN) / 2
    offset = jnp.asarray([0.5 if n % 2 == 0 else 0.0 for n in levels], jnp.float32)
    return jnp.tanh(z + jnp.arctanh(offset / widths)) * widths - offset


def halves(levels: tuple[int, ...]) -> Float[Array, " k"]:
    """What divides rounded values into codes of about [-1, 1], and is added to them for digits: n // 2."""
    return jnp.asarray([n // 2 for n in levels], jnp.float32)


def weights(levels: tuple[int, ...]) -> Int[Array, " k"]:
    """Place values of the digits: `(8, 5, 5) → 1 8 40`."""
    return jnp.asarray([math.prod(levels[:i]) for i in range(len(levels))], jnp.int32)


def codes(z: Float[Array, "*n k"], levels: tuple[int, ...]) -> Float[Array, "*n k"]:
    """The rounded value of every channel, scaled to about [-1, 1], with the gradient of the bound."""
    bounded = bound(z, levels)
    rounded = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
    return rounded / halves(levels)


def indices(z: Float[Array, "*n k"], levels: tuple[int, ...]) -> Int[Array, "*n"]:
    """Digits in mixed radix, the first channel's the lowest."""
    digits = (jnp.round(bound(z, levels)) + halves(levels)).astype(jnp.int32)
    return jnp.sum(digits * weights(levels), axis=-1)


def codes_from_indices(index: Int[Array, "*n"], levels: tuple[int, ...]) -> Float[Array, "*n k"]:
    """The codes of an index."""
    digits = index[..., None] // weights(levels) % jnp.asarray(levels, jnp.int32)
    return (digits - halves(levels)) / halves(levels)
