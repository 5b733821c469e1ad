"""The tokenizer's training loss: reconstruction, perceptual distance, the quantizer's penalties, a discriminator.

`make_loss(model, weights)` is the function that the training loop runs: `(params, extra, batch, keys) → (loss, Aux)`,
and `make_adversary_loss` that of the discriminator, which is shown `Aux.outputs`. `extra` is `initial_extra()` at the
start: the number of steps taken, by which the entropy's weight is annealed and the adversary waits.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from videopoet_jax.layers import gan
from videopoet_jax.layers.objective import ADVERSARY, FROZEN, Aux, from_step
from videopoet_jax.layers.precision import cast_network
from videopoet_jax.video.discriminator import Discriminator
from videopoet_jax.video.model import Config, VideoTokenizerModel, to_pixels
from videopoet_jax.video.quantizers import make_quantizer


class Perceptual(NamedTuple):
    """How far apart two pictures look: `distance(params, a [n h w 3], b) → [n]`, of pixels in [-1, 1].

    `params` go into `extra[FROZEN]`, so that they are no constants of the program. `frames` of each clip are
    compared, drawn anew in every step: a network for photographs costs more than the tokenizer. (ours)
    """

    distance: Callable[[Any, Array, Array], Array]
    params: Any
    frames: int


def perceptual_of(network: nn.Module, params: Any, frames: int) -> Perceptual:
    """A Flax module of two pictures, LPIPS say, as the loss wants it."""
    return Perceptual(lambda params, a, b: network.apply({"params": params}, a, b), params, frames)


def initial_extra(perceptual: Perceptual | None = None) -> dict[str, Any]:
    """The loss's own state before the first step."""
    networks = {} if perceptual is None else {FROZEN: {"perceptual": perceptual.params}}
    return {"step": jnp.zeros((), jnp.int32), **networks}


def entropy_weight(step: Int[Array, ""], weight: float, boost: float, boost_steps: int) -> Float[Array, ""]:
    """`boost`·weight at step 0, falling linearly to weight at `boost_steps`: early on, all codes come into use."""
    left = jnp.clip(1.0 - step / max(1, boost_steps), 0.0, 1.0)
    return weight * (1.0 + (boost - 1.0) * left)


def foreground(video: Float[Array, "b t h w 3"]) -> Float[Array, "b t h w 1"]:
    """How bright a true pixel is, 0 (black) … 1: its strongest channel."""
    return (jnp.max(video, axis=-1, keepdims=True) + 1.0) / 2.0


def reconstruction(
    video: Float[Array, "b t h w 3"], truth: Float[Array, "b t h w 3"], *, l2: float, l1: float, emphasis: float
) -> Float[Array, ""]:
    """l2·squared + l1·absolute error, a pixel weighted 1 … emphasis by its true brightness.

    Not in the paper; ours: where most of the picture is black, an unweighted mean is won by painting black. A black
    pixel keeps weight 1, and there are many, so a stray bright one still costs.
    """
    difference = video.astype(jnp.float32) - truth.astype(jnp.float32)
    weight = 1.0 + (emphasis - 1.0) * foreground(truth)
    error = l2 * jnp.square(difference) + l1 * jnp.abs(difference)
    return jnp.mean(weight * error)


def psnr(
    video: Float[Array, "b t h w 3"], truth: Float[Array, "b t h w 3"], weight: Float[Array, "b t h w 1"]
) -> Float[Array, ""]:
    """Peak signal to noise in dB of pixels in [-1, 1], their squared errors averaged under `weight`."""
    error = jnp.square((jnp.clip(video, -1, 1) - truth).astype(jnp.float32) / 2.0)
    mean = jnp.sum(weight * error) / jnp.maximum(3.0 * jnp.sum(weight), 1.0)
    return -10.0 * jnp.log10(jnp.maximum(mean, 1e-10))


def code_usage(indices: Int[Array, "*positions"], size: int) -> Float[Array, ""]:
    """Distinct codes among tokens, as a share of the most there could be: `5 5 9 2 → 3/4`, of 3 codes `2 2 0 → 2/3`."""
    ordered = jnp.sort(indices.reshape(-1))
    return (1 + jnp.sum(ordered[1:] != ordered[:-1])) / min(ordered.size, size)


def make_loss(
    model: VideoTokenizerModel,
    weights: Config,
    *,
    adversary: Config | None = None,
    perceptual: Perceptual | None = None,
) -> Callable[..., tuple[Array, Aux]]:
    """The loss function of `model`; `weights` is a config's `loss`, `adversary` its part of that name, if it has one:

    reconstruction, l2, l1, foreground — scale, its two parts, the weight of a white pixel; entropy, entropy_boost,
    entropy_boost_steps, diversity — the quantizer's entropy, and the share of its second term; commitment, codebook;
    perceptual; inverse_temperature — τ of the soft assignment; dtype — of compute.
    """
    dtype, quantizer = jnp.dtype(weights["dtype"]), make_quantizer(model.quantizer)

    def loss_fn(params: Any, extra: Any, batch: Mapping[str, Any], keys: Any) -> tuple[Array, Aux]:
        video = batch["video"]
        truth = to_pixels(video) if video.dtype == jnp.uint8 else video
        out = model.apply({"params": cast_network(params, dtype)}, truth.astype(dtype))
        recon = reconstruction(out.video, truth, l2=weights["l2"], l1=weights["l1"], emphasis=weights["foreground"])
        tau = weights["inverse_temperature"]
        entropy, commitment, codebook = model.apply({"params": params}, out.z, tau, method="penalties")
        scale = entropy_weight(
            extra["step"], weights["entropy"], weights["entropy_boost"], weights["entropy_boost_steps"]
        )
        loss = weights["reconstruction"] * recon + weights["commitment"] * commitment + weights["codebook"] * codebook
        loss += scale * (entropy.per_sample - weights["diversity"] * entropy.of_mean)
        seen, outputs = {}, None
        if perceptual is not None:
            network = extra[FROZEN]["perceptual"]
            seen["perceptual"] = perceptual_loss(perceptual, network, out.video, truth, keys("perceptual"))
            loss += weights["perceptual"] * seen["perceptual"]
        if adversary is not None:
            outputs = {"real": truth.astype(dtype), "fake": out.video}
            seen["adversarial"] = adversarial_loss(adversary, extra, out.video)
            loss += adversary["weight"] * seen["adversarial"]
        metrics = {
            **seen,
            "loss": loss,
            "reconstruction": recon,
            "psnr": psnr(out.video, truth, jnp.ones_like(truth[..., :1])),
            "psnr_foreground": psnr(out.video, truth, (foreground(truth) > 0.1).astype(jnp.float32)),
            "entropy_per_sample": entropy.per_sample,
            "entropy_of_mean": entropy.of_mean,
            "entropy_weight": scale,
            "commitment": commitment,
            "code_usage": code_usage(out.indices, quantizer.size),
            **quantizer.statistics(out.z),
        }
        return loss, Aux(metrics, {**extra, "step": extra["step"] + 1}, outputs)

    return loss_fn


def perceptual_loss(
    perceptual: Perceptual,
    params: Any,
    video: Float[Array, "b t h w 3"],
    truth: Float[Array, "b t h w 3"],
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Mean perceptual distance of some frames of each clip, with replacement."""
    b, t = video.shape[:2]
    chosen = jax.random.randint(key, (b, min(t, perceptual.frames)), 0, t)[..., None, None, None]
    a, c = (jnp.take_along_axis(clip, chosen, axis=1).reshape(-1, *clip.shape[2:]) for clip in (video, truth))
    return jnp.mean(perceptual.distance(params, a, c.astype(a.dtype)).astype(jnp.float32))


def discriminator(adversary: Config) -> Discriminator:
    """The discriminator of a config's `adversary`."""
    return Discriminator(adversary["width"], tuple(adversary["multipliers"]))


def adversarial_loss(adversary: Config, extra: Any, video: Float[Array, "b t h w 3"]) -> Float[Array, ""]:
    """What the discriminator holds against these clips; nothing before it starts to learn."""

    def playing(video: Array) -> Array:
        params = jax.tree.map(lambda p: p.astype(video.dtype), extra[ADVERSARY].params)
        return gan.generator_loss(discriminator(adversary).apply({"params": params}, video), adversary["kind"])

    return from_step(adversary["start"], extra["step"], playing, lambda video: jnp.zeros(()), video)


def initial_adversary_extra() -> dict[str, Any]:
    """The discriminator's own state before its first step."""
    return {"step": jnp.zeros((), jnp.int32), "averages": gan.no_averages()._asdict()}


def make_adversary_loss(adversary: Config) -> Callable[..., tuple[Array, Aux]]:
    """The discriminator's loss on `{"real": clips, "fake": clips}`, from a config's `adversary`:

    kind — of loss; r1, r1_every — weight of the gradient penalty, and the steps from one to the next; lecam,
    lecam_decay — weight of LeCAM, and decay of its averages. The other fields say who is trained, when and how fast.
    """
    model = discriminator(adversary)

    def loss_fn(params: Any, extra: Any, outputs: Mapping[str, Array], keys: Any) -> tuple[Array, Aux]:
        del keys  # nothing here is random

        def logits(video: Array) -> Array:
            return model.apply({"params": jax.tree.map(lambda p: p.astype(video.dtype), params)}, video)

        # In turns, a copy behind its clip: both stay on the device that has them.
        pairs = jnp.stack([outputs["real"], outputs["fake"]], axis=1)
        said = logits(pairs.reshape(-1, *pairs.shape[2:])).astype(jnp.float32).reshape(pairs.shape[:2])
        real, fake = said[:, 0], said[:, 1]
        averages = gan.follow(gan.Averages(**extra["averages"]), real, fake, adversary["lecam_decay"])
        classification = gan.discriminator_loss(real, fake, adversary["kind"])
        lecam = gan.lecam(real, fake, averages)
        penalty = jax.lax.cond(
            extra["step"] % adversary["r1_every"] == 0,
            lambda video: gan.r1(logits, video),
            lambda video: jnp.zeros(()),
            outputs["real"],
        )
        loss = classification + adversary["r1"] * penalty + adversary["lecam"] * lecam
        metrics = {"real": jnp.mean(real), "fake": jnp.mean(fake), "classification": classification}
        metrics |= {"r1": penalty, "lecam": lecam}
        return loss, Aux(metrics, {"step": extra["step"] + 1, "averages": averages._asdict()})

    return loss_fn
