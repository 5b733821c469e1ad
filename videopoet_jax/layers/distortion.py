"""How far a copy of a sound is from its original, in decibels.

numpy arrays are computed in float64, JAX arrays in float32, inside jit too; any number of leading axes.
"""

import math
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

Real = Array | np.ndarray
Figures = Array | np.ndarray | np.floating


def si_sdr(reference: Float[Real, "*n s"], estimate: Float[Real, "*n s"]) -> Float[Figures, "*n"]:
    """Scale-invariant signal-to-distortion ratio in decibels (Le Roux et al. 2019), means taken off.

    The estimate is split into its part along the reference and the rest. An exact copy up to its loudness and its mean
    is infinite, a silent reference or estimate minus infinity.

    Raises:
        ValueError: different shapes.
    """
    xp, x, y = pair(reference, estimate)
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    power = xp.sum(x * x, axis=-1, keepdims=True)
    target = xp.sum(x * y, axis=-1, keepdims=True) / xp.where(power > 0, power, 1) * x
    signal, noise = xp.sum(target**2, axis=-1), xp.sum((y - target) ** 2, axis=-1)
    ratio = xp.where(noise > 0, signal / xp.where(noise > 0, noise, 1), xp.where(signal > 0, math.inf, 0.0))
    return 10 * log10(xp, ratio)


def pair(reference: Real, estimate: Real) -> tuple[ModuleType, Real, Real]:
    """(jax.numpy, both as float32) if one is a JAX array, else (numpy, both as float64).

    Raises:
        ValueError: different shapes.
    """
    if reference.shape != estimate.shape:
        raise ValueError(f"{reference.shape} and {estimate.shape}: a copy has its original's shape; cut or pad one.")
    if isinstance(reference, jax.Array) or isinstance(estimate, jax.Array):
        return jnp, jnp.asarray(reference, jnp.float32), jnp.asarray(estimate, jnp.float32)
    return np, np.asarray(reference, np.float64), np.asarray(estimate, np.float64)


def log10(xp: ModuleType, ratio: Figures) -> Figures:
    """log₁₀, minus infinity for 0, without a warning.  `100 0 → 2 -inf`"""
    safe = xp.where(ratio > 0, ratio, 1)
    return xp.where(ratio > 0, xp.log10(safe), -math.inf)
