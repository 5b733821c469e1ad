"""What SoundStream is trained on: spectra, the waveform itself, commitment, and what discriminators say.

The spectral loss of the paper is deaf to phase; its discriminators are not. A model that trains without them may be
told by the waveform itself (`waveform_weight`). Where a code has no room for the phase, as of noise, that loss is least
for silence, and the spectral loss has to hold against it.

The discriminators are the adversary of `training.step`: a second `TrainState` in `extra[ADVERSARY]`, whose loss
function is `make_adversary_loss`'s, shown `Aux.outputs`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from videopoet_jax.audio import rvq
from videopoet_jax.audio.denoising import Pairs, make_pairs
from videopoet_jax.audio.discriminators import DiscriminatorOutput, Discriminators
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.spectra import TINY, mel_spectrogram
from videopoet_jax.layers import gan
from videopoet_jax.layers.distortion import si_sdr
from videopoet_jax.layers.objective import ADVERSARY, Aux, from_step


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


def adversarial_loss(fake: list[DiscriminatorOutput]) -> Float[Array, ""]:
    """max(0, 1 − logits of the model's output), mean over time and nets [SS]: nothing more is gained above 1."""
    return sum(gan.generator_loss(net.logits, "clipped-hinge") for net in fake) / len(fake)


def feature_loss(real: list[DiscriminatorOutput], fake: list[DiscriminatorOutput]) -> Float[Array, ""]:
    """Mean absolute difference of what the nets saw, mean over the layers of each net and over nets [SS]."""
    pairs = zip(real, fake, strict=True)
    return sum(gan.feature_matching(a.features, b.features) for a, b in pairs) / len(fake)


def initial_extra(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Where training starts from beside the parameters: codebooks that wait for their first batch, no step taken."""
    model = config.model
    books = rvq.empty_codebooks(model.levels, model.codebook_size, model.dim)
    return {"codebooks": books._asdict(), "step": jnp.zeros((), jnp.int32)}


def init_adversary(config: ml_collections.ConfigDict, key: PRNGKeyArray) -> dict[str, Any]:
    """New parameters of the discriminators, boxed; of one size whatever the sound's length."""
    return Discriminators(**config.adversary.model).init(key, jnp.zeros((1, 64)))["params"]


def make_adversary_loss(config: ml_collections.ConfigDict) -> Callable[..., tuple[Array, Aux]]:
    """`loss_fn(params, extra, outputs, keys) → (loss, Aux)` of the discriminators: [SS]'s hinge, mean over nets.

    in   outputs {"real", "fake": Float "b s"}
    """
    model = Discriminators(**config.adversary.model)

    def loss_fn(params: Mapping, extra: Any, outputs: Mapping[str, Array], keys: Callable) -> tuple[Array, Aux]:
        del keys  # nothing here is random
        real, fake = (model.apply({"params": params}, outputs[name]) for name in ("real", "fake"))
        pairs = zip(real, fake, strict=True)
        loss = sum(gan.discriminator_loss(a.logits, b.logits, "hinge") for a, b in pairs) / len(real)
        said = {"real": real, "fake": fake}
        metrics = {name: sum(jnp.mean(net.logits) for net in nets) / len(nets) for name, nets in said.items()}
        return loss, Aux(metrics, extra)

    return loss_fn


def adversarial_terms(config: ml_collections.ConfigDict) -> Callable[..., dict[str, Array]]:
    """`(extra, real, fake) → {"adversarial", "features"}`, 0 before step `config.adversary.start`."""
    numbers, model = config.adversary, Discriminators(**config.adversary.model)

    def judged(params: Mapping, real: Array, fake: Array) -> dict[str, Array]:
        truth, copy = (model.apply({"params": params}, sound) for sound in (real, fake))
        return {"adversarial": adversarial_loss(copy), "features": feature_loss(truth, copy)}

    def unheard(params: Mapping, real: Array, fake: Array) -> dict[str, Array]:
        return {"adversarial": jnp.zeros(()), "features": jnp.zeros(())}

    def terms(extra: Mapping, real: Array, fake: Array) -> dict[str, Array]:
        return from_step(numbers.start, extra["step"], judged, unheard, extra[ADVERSARY].params, real, fake)

    return terms


def make_loss(config: ml_collections.ConfigDict) -> Callable[..., tuple[Array, Aux]]:
    """`loss_fn(params, extra, batch, keys) → (loss, Aux)` for `config.model`, `config.loss` and `config.adversary`.

    A share `config.loss.bypass_share` of the examples goes around the quantizer (half of them in Moshi's tokenizer):
    from latents the decoder learns sounds too rare to be given a code, a click for one, and then they get one. A model
    with `denoise` is trained on pairs of `config.noise`. `config.adversary.weight` 0 means that there is none.

    in   extra {"codebooks": …, "step"}, with an adversary its state too; batch {"audio": Float "b s"}; keys(purpose)
    out  Aux.extra holds the codebooks after this batch, Aux.outputs what the adversary is shown
    """
    model, numbers = SoundStream(**config.model), config.loss
    spectral = functools.partial(
        spectral_loss,
        windows=tuple(numbers.windows),
        bins=numbers.mel_bins,
        sample_rate=model.sample_rate,
        floor=numbers.log_floor,
    )
    weights = {name: numbers[f"{name}_weight"] for name in ("spectral", "waveform", "commitment")}
    terms = None
    if config.adversary.weight:
        terms = adversarial_terms(config)
        weights |= {"adversarial": config.adversary.weight, "features": config.adversary.feature_weight}

    def pairs_of(audio: Array, keys: Callable) -> Pairs:
        if model.denoise:
            return make_pairs(keys("noise"), audio, **config.noise)
        return Pairs(audio, audio, jnp.zeros(audio.shape[:1], bool))

    def loss_fn(params: Mapping, extra: Mapping, batch: Mapping[str, Array], keys: Callable) -> tuple[Array, Aux]:
        heard, wanted, denoise = pairs_of(batch["audio"], keys)
        levels = rvq.draw_levels(keys("levels"), heard.shape[0], model.levels)
        bypass = jax.random.bernoulli(keys("bypass"), numbers.bypass_share, (heard.shape[0],))
        variables = {"params": params, "codebooks": extra["codebooks"]}
        out, changed = model.apply(variables, heard, levels, keys("codebooks"), bypass, denoise, mutable=["codebooks"])
        parts = {
            "spectral": spectral(wanted, out.waveform),
            "waveform": waveform_loss(wanted, out.waveform),
            "commitment": out.commitment,
        }
        if terms:
            parts |= terms(extra, wanted, out.waveform)
        loss = sum(weights[name] * value for name, value in parts.items())
        books = rvq.Codebooks(**changed["codebooks"])
        ratios = si_sdr(wanted, out.waveform)
        coded = ~bypass & jnp.isfinite(ratios)  # silence has no ratio
        seen = {
            "si_sdr": jnp.sum(jnp.where(coded, ratios, 0)) / jnp.maximum(1, jnp.sum(coded)),
            "codes_in_use": rvq.perplexity(books)[0],
            "codes_in_use_last_level": rvq.perplexity(books)[-1],
        }
        after = {**extra, "codebooks": changed["codebooks"], "step": extra["step"] + 1}
        outputs = {"real": wanted, "fake": out.waveform} if terms else None
        return loss, Aux({**parts, **seen}, after, outputs)

    return loss_fn
