"""What SoundStream is trained on without its discriminators: spectra, the waveform itself, commitment.

The spectral loss of the paper is deaf to phase. With several levels the discriminators and the codes' plenty mend that;
one level that must carry a tone's phase from frame to frame needs to be told (`waveform_weight`). Noise has too much
phase for any code: there the waveform loss would teach silence.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array
from jaxtyping import Float

from videopoet_jax.audio import rvq
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.layers.objective import Aux

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


def mel_spectrogram(
    waveform: Float[Array, "b s"], *, window: int, bins: int, sample_rate: int
) -> Float[Array, "b f bins"]:
    """Magnitudes on the mel scale, in amplitude: a full-scale sine peaks near 1, whatever the window.

    The paper gives no scale. This one is ours: the linear term then weighs every window alike.
    """
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    spectrum = jnp.fft.rfft(frames_of(waveform, window) * hann)
    magnitude = jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + TINY) * (2 / hann.sum())
    return magnitude @ jnp.asarray(mel_filters(window, bins, sample_rate))


def spectral_loss(
    target: Float[Array, "b s"],
    output: Float[Array, "b s"],
    *,
    windows: tuple[int, ...],
    bins: int,
    sample_rate: int,
    floor: float,
) -> Float[Array, ""]:
    """Σ over windows s of |S − Ŝ|₁ + √(s/2)·|log S − log Ŝ|₂ on mel spectrograms, mean over time and examples.

    `floor` is added before the logarithm: what lies below it in both sounds is silence. (ours)
    """
    total = jnp.zeros(())
    for window in windows:
        a, b = (mel_spectrogram(x, window=window, bins=bins, sample_rate=sample_rate) for x in (target, output))
        linear = jnp.sum(jnp.abs(a - b), axis=-1)
        log = jnp.sqrt(jnp.sum((jnp.log(a + floor) - jnp.log(b + floor)) ** 2, axis=-1) + TINY)
        total += jnp.mean(linear + (window / 2) ** 0.5 * log)
    return total


def waveform_loss(target: Float[Array, "b s"], output: Float[Array, "b s"]) -> Float[Array, ""]:
    """Mean squared difference. Not in the paper; ours: it hears phase."""
    return jnp.mean((target - output) ** 2)


def si_sdr(target: Float[Array, "b s"], output: Float[Array, "b s"]) -> Float[Array, " b"]:
    """Scale-invariant signal-to-distortion ratio in dB."""
    scale = jnp.sum(target * output, -1, keepdims=True) / (jnp.sum(target**2, -1, keepdims=True) + TINY)
    wanted = scale * target
    return 10 * jnp.log10((jnp.sum(wanted**2, -1) + TINY) / (jnp.sum((output - wanted) ** 2, -1) + TINY))


def initial_extra(config: ml_collections.ConfigDict) -> dict[str, dict[str, Array]]:
    """Where training starts from beside the parameters: codebooks that wait for their first batch."""
    model = config.model
    return {"codebooks": rvq.empty_codebooks(model.levels, model.codebook_size, model.dim)._asdict()}


def make_loss(config: ml_collections.ConfigDict) -> Callable[..., tuple[Array, Aux]]:
    """`loss_fn(params, extra, batch, keys) → (loss, Aux)` for `config.model` and `config.loss`.

    A share `config.loss.bypass_share` of the examples goes around the quantizer (half of them in Moshi's tokenizer):
    from latents the decoder learns sounds too rare to be given a code, a click for one, and then they get one.

    in   extra {"codebooks": …}, batch {"audio": Float "b s"}, keys(purpose) → key
    out  Aux.extra holds the codebooks after this batch
    """
    model, numbers = SoundStream(**config.model), config.loss
    spectral = functools.partial(
        spectral_loss,
        windows=tuple(numbers.windows),
        bins=numbers.mel_bins,
        sample_rate=model.sample_rate,
        floor=numbers.log_floor,
    )

    def loss_fn(params: Mapping, extra: Mapping, batch: Mapping[str, Array], keys: Callable) -> tuple[Array, Aux]:
        audio = batch["audio"]
        levels = rvq.draw_levels(keys("levels"), audio.shape[0], model.levels)
        bypass = jax.random.bernoulli(keys("bypass"), numbers.bypass_share, (audio.shape[0],))
        variables = {"params": params, "codebooks": extra["codebooks"]}
        out, changed = model.apply(variables, audio, levels, keys("codebooks"), bypass, mutable=["codebooks"])
        parts = {
            "spectral": spectral(audio, out.waveform),
            "waveform": waveform_loss(audio, out.waveform),
            "commitment": out.commitment,
        }
        loss = sum(numbers[f"{name}_weight"] * value for name, value in parts.items())
        books = rvq.Codebooks(**changed["codebooks"])
        through = jnp.where(bypass, 0, si_sdr(audio, out.waveform))
        heard = {
            "si_sdr": jnp.sum(through) / jnp.maximum(1, jnp.sum(~bypass)),
            "codes_in_use": rvq.perplexity(books)[0],
        }
        return loss, Aux({**parts, **heard}, {**extra, "codebooks": changed["codebooks"]})

    return loss_fn
