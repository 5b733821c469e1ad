"""The tokenizer's training loss without a discriminator: reconstruction, LFQ's entropy, commitment; and what to watch.

`make_loss(model, weights)` is the function that the training loop runs: `(params, extra, batch, keys) → (loss, Aux)`.
`extra` is `initial_extra()` at the start: the number of steps taken, by which the entropy's weight is annealed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.layers.objective import Aux
from videopoet_jax.video import lfq
from videopoet_jax.video.tokenizer import Config, VideoTokenizerModel, to_pixels


def initial_extra() -> dict[str, Array]:
    """The loss's own state before the first step."""
    return {"step": jnp.zeros((), jnp.int32)}


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


def code_usage(indices: Int[Array, "*positions"]) -> Float[Array, ""]:
    """Distinct codes among these tokens, as a share of the tokens: `5 5 9 2 → 3/4`."""
    ordered = jnp.sort(indices.reshape(-1))
    return (1 + jnp.sum(ordered[1:] != ordered[:-1])) / ordered.size


def make_loss(model: VideoTokenizerModel, weights: Config) -> Callable[..., tuple[Array, Aux]]:
    """The loss function of `model`; `weights` is a config's `loss`:

    reconstruction, l2, l1, foreground — scale, its two parts, the weight of a white pixel; entropy, entropy_boost,
    entropy_boost_steps, diversity — LFQ's entropy, and the share of its second term; commitment;
    inverse_temperature — τ of the soft assignment; dtype — of compute.
    """
    dtype = jnp.dtype(weights["dtype"])

    def loss_fn(params: Any, extra: Any, batch: Mapping[str, Any], keys: Any) -> tuple[Array, Aux]:
        del keys  # nothing here is random
        video = batch["video"]
        truth = to_pixels(video) if video.dtype == jnp.uint8 else video
        cast = jax.tree.map(lambda p: p.astype(dtype), params)
        out = model.apply({"params": cast}, truth.astype(dtype))
        recon = reconstruction(out.video, truth, l2=weights["l2"], l1=weights["l1"], emphasis=weights["foreground"])
        entropy = lfq.entropy(out.z, weights["inverse_temperature"])
        commitment = lfq.commitment(out.z)
        scale = entropy_weight(
            extra["step"], weights["entropy"], weights["entropy_boost"], weights["entropy_boost_steps"]
        )
        loss = weights["reconstruction"] * recon + weights["commitment"] * commitment
        loss += scale * (entropy.per_sample - weights["diversity"] * entropy.of_mean)
        balance = jnp.mean((out.z > 0).astype(jnp.float32), axis=(0, 1, 2, 3))
        metrics = {
            "loss": loss,
            "reconstruction": recon,
            "psnr": psnr(out.video, truth, jnp.ones_like(truth[..., :1])),
            "psnr_foreground": psnr(out.video, truth, (foreground(truth) > 0.1).astype(jnp.float32)),
            "entropy_per_sample": entropy.per_sample,
            "entropy_of_mean": entropy.of_mean,
            "entropy_weight": scale,
            "commitment": commitment,
            # 0.5 is a fair coin; the worst bit tells of a dead channel.
            "bit_balance_worst": jnp.min(jnp.minimum(balance, 1 - balance)),
            "bit_balance_mean": jnp.mean(jnp.minimum(balance, 1 - balance)),
            "code_usage": code_usage(out.indices),
        }
        return loss, Aux(metrics, {"step": extra["step"] + 1})

    return loss_fn
