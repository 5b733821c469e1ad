"""Windows of sound, their spectra, and what an ear makes of these: pure functions of waveforms [b s]."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

TINY = 1e-12  # under a root, whose gradient at nothing would be infinite


@functools.cache
def mel_filters(window: int, bins: int, sample_rate: int) -> Float[np.ndarray, "rows bins"]:
    """Triangles of height 1, equally spaced on the mel scale from 0 to half the rate, over `window // 2 + 1` rows.

    With short windows some low triangles fall between two frequencies and stay empty; they add nothing to a loss.
    """
    frequencies = np.arange(window // 2 + 1) * (sample_rate / window)
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bins + 2) / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (centre - low)
    falling = (high - frequencies[:, None]) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def frames_of(waveform: Float[Array, "b s"], window: int) -> Float[Array, "b f window"]:
    """Windows a quarter of their length apart; zeros in front and behind, so that every sample is in four of them."""
    hop = window // 4
    behind = -waveform.shape[1] % hop + window - hop
    padded = jnp.pad(waveform, ((0, 0), (window - hop, behind)))
    blocks = padded.reshape(waveform.shape[0], -1, hop)
    last = blocks.shape[1] - 3
    return jnp.concatenate([blocks[:, i : i + last] for i in range(4)], axis=-1)


def hann(window: int) -> Float[np.ndarray, " window"]:
    """The periodic Hann window."""
    return np.hanning(window + 1)[:-1].astype(np.float32)


def stft(waveform: Float[Array, "b s"], window: int) -> Float[Array, "b f bins 2"]:
    """Real and imaginary parts of the frequencies below half the rate, `window // 2` of them, a quarter window apart.

    Scaled by the window's norm, so that noise of variance σ² has coefficients of variance σ² (ours).
    """
    shape = hann(window)
    spectrum = jnp.fft.rfft(frames_of(waveform, window) * shape)[..., : window // 2]
    return jnp.stack([spectrum.real, spectrum.imag], axis=-1) / np.sqrt(np.sum(shape**2))


def mel_spectrogram(
    waveform: Float[Array, "b s"], *, window: int, bins: int, sample_rate: int
) -> Float[Array, "b f bins"]:
    """Magnitudes on the mel scale, in amplitude: a full-scale sine peaks near 1, whatever the window.

    The paper gives no scale. This one is ours: the linear term then weighs every window alike.
    """
    shape = hann(window)
    spectrum = jnp.fft.rfft(frames_of(waveform, window) * shape)
    magnitude = jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + TINY) * (2 / shape.sum())
    return magnitude @ jnp.asarray(mel_filters(window, bins, sample_rate))
