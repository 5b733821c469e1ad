"""Learning to take noise away on demand: noisy sounds, and what the model shall make of each.

    heard   clean   noisy   clean   noisy
    asked   –       –       denoise denoise
    wanted  clean   noisy   clean   clean

SoundStream learns both at once [SS], the wish entering as FiLM at the bottleneck (`soundstream.Film`). Its noises are
recordings; ours come out of the batch: other examples of it, as from a crowd, or coloured noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, PRNGKeyArray

from videopoet_jax.audio.spectra import TINY


class Pairs(NamedTuple):
    """What a training step gives the model and wants back."""

    heard: Float[Array, "b s"]
    wanted: Float[Array, "b s"]
    denoise: Bool[Array, " b"]


def coloured(key: PRNGKeyArray, shape: tuple[int, int]) -> Float[Array, "b s"]:
    """Noise whose power falls with frequency as 1/fᵃ, a uniform in [0, 2] for each example: from white to brown.

    Its mean is 0: what nobody hears has no part in its power.
    """
    slope_key, noise_key = jax.random.split(key)
    slope = jax.random.uniform(slope_key, (shape[0], 1), maxval=2.0)
    spectrum = jnp.fft.rfft(jax.random.normal(noise_key, shape))
    above = jnp.arange(1, spectrum.shape[1]) ** (-slope / 2)
    return jnp.fft.irfft(jnp.pad(spectrum[:, 1:] * above, ((0, 0), (1, 0))), n=shape[1])


def mixed(clean: Float[Array, "b s"], noise: Float[Array, "b s"], snr: Float[Array, " b"]) -> Float[Array, "b s"]:
    """`clean` with `noise` so many dB below it; silence stays silent."""
    power, other = (jnp.sum(x**2, axis=1, keepdims=True) for x in (clean, noise))
    return clean + noise * jnp.sqrt(power / (other + TINY)) * 10 ** (-snr[:, None] / 20)


class Noisy(NamedTuple):
    """A sound to be heard under noise, and what it is without."""

    heard: Float[np.ndarray, " s"]
    wanted: Float[np.ndarray, " s"]


def noisy(number: int, sound: Float[np.ndarray, " s"], snr: float) -> Noisy:
    """Sound `number` under coloured noise of its own; both float32, turned down alike so that neither clips."""
    wanted = np.asarray(sound, np.float32)
    noise = coloured(jax.random.key(number), (1, len(sound)))
    heard = np.asarray(mixed(jnp.asarray(wanted[None]), noise, jnp.full((1,), snr)))[0]
    peak = max(np.float32(1), np.abs(heard).max())
    return Noisy(heard / peak, wanted / peak)


def make_pairs(
    key: PRNGKeyArray,
    clean: Float[Array, "b s"],
    *,
    noisy_share: float,
    crowd_share: float,
    snr_low: float,
    snr_high: float,
) -> Pairs:
    """A share of the examples under noise, half of all asked to be denoised.

    Args:
        noisy_share: of the examples that hear noise.
        crowd_share: of the noises that are another example of the batch; the others are coloured noise.
        snr_low, snr_high: between which the ratio of sound and noise is drawn, in dB.
    """
    keys, batch = jax.random.split(key, 5), clean.shape[:1]
    crowd = jax.random.bernoulli(keys[0], crowd_share, batch)[:, None]
    noise = jnp.where(crowd, jnp.roll(clean, 1, axis=0), coloured(keys[1], clean.shape))
    snr = jax.random.uniform(keys[2], batch, minval=snr_low, maxval=snr_high)
    under_noise = jax.random.bernoulli(keys[3], noisy_share, batch)[:, None]
    denoise = jax.random.bernoulli(keys[4], 0.5, batch)
    heard = jnp.where(under_noise, mixed(clean, noise, snr), clean)
    return Pairs(heard, jnp.where(denoise[:, None], clean, heard), denoise)
