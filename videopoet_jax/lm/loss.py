"""The loss of the language model: cross-entropy of the output tokens, a little of their partition functions, and what
is logged of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from videopoet_jax.layers.objective import FROZEN, Aux, Mean
from videopoet_jax.lm.heads import Totals
from videopoet_jax.lm.totals import token_sums
from videopoet_jax.lm.transformer import Batch, PrefixLM, whole_sequence


def metrics_of(totals: Mapping[str, Totals]) -> dict[str, Mean]:
    """`loss_video, loss_audio, loss_special` in nats a token, `bits_per_token`, `accuracy_…`, of the tokens there are.

    With several RVQ levels `loss_audio_0`, … stand beside `loss_audio`.
    """
    audio = [t for name, t in totals.items() if name.startswith("audio_")]
    groups = {name: [t] for name, t in totals.items()} if len(audio) > 1 else {}
    groups |= {"special": [totals["special"]], "video": [totals["video"]], "all": list(totals.values())}
    groups |= {"audio": audio} if audio else {}
    metrics = {}
    for name, members in groups.items():
        t = jax.tree.map(lambda *values: sum(values), *members)
        metrics |= {f"loss_{name}": Mean(t.nll, t.weight), f"accuracy_{name}": Mean(t.correct, t.weight)}
    nats, tokens = metrics.pop("loss_all")
    metrics["bits_per_token"] = Mean(nats / jnp.log(2.0), tokens)
    metrics["accuracy"] = metrics.pop("accuracy_all")
    return metrics


def sums_of_rows(
    model: PrefixLM, params: Any, batch: Batch, text: Float[Array, "b l c"], chunk: int
) -> dict[str, Float[Array, "b 2"]]:
    """Of each sequence of a batch by itself its weight and nats, by the name of the head."""

    def one(row: tuple[Batch, Array]) -> dict[str, Array]:
        batch, text = jax.tree.map(lambda x: x[None], row)
        hidden, _ = model.apply({"params": params}, whole_sequence(batch, text, batch["text_mask"]))
        tokens = (batch[name] for name in ("ids", "table", "weights"))
        totals = token_sums(model, params["output"], hidden, *tokens, chunk, 0.0).totals
        return {name: jnp.stack([total.weight, total.nll]) for name, total in totals.items()}

    return jax.lax.map(one, ({name: jnp.asarray(value) for name, value in batch.items()}, text))


def _dropped(batch: Batch, rate: float, key: Array) -> Bool[Array, "b *s 1"]:
    return jax.random.bernoulli(key, rate, batch["text_ids"].shape[:-1])[..., None]


def drop_condition(batch: Batch, rate: float, key: Array) -> tuple[Int[Array, "b *s l"], Bool[Array, "b *s l"]]:
    """The batch's texts, and of a share `rate` of the sequences the empty prompt's; guidance needs a model of both."""
    dropped = _dropped(batch, rate, key)
    ids = jnp.where(dropped, batch["empty_text_ids"], batch["text_ids"])
    return ids, jnp.where(dropped, batch["empty_text_mask"], batch["text_mask"])


def drop_embedding(batch: Batch, empty: Float[Array, "one c"], rate: float, key: Array) -> Float[Array, "b *s l c"]:
    """The same of embeddings that the batch brings, as records keep them; `empty` is that of the empty prompt."""
    kept = jnp.asarray(batch["text_embedding"])
    padded = jnp.zeros(kept.shape[-2:], kept.dtype).at[: len(empty)].set(empty)
    return jnp.where(_dropped(batch, rate, key)[..., None], padded, kept)


def make_loss(config: ConfigDict, text_embed: Callable[[Any, Array, Array], Array]) -> Callable:
    """The loss function of the training loop.

    Args:
        config: `model` (fields of `PrefixLM`) and `loss` (condition_drop, chunk, z_coefficient).
        text_embed: (text parameters, text_ids, text_mask) → embeddings [b l c]; frozen.

    Returns:
        `loss_fn(params, extra, batch, keys) → (loss, Aux)`. `extra[FROZEN]["text_encoder"]` are the text parameters.
        The batch is `sequence.assemble`'s with `empty_text_ids`, `empty_text_mask` [b l] beside it, or packed
        (`data/packing.py`). If it brings `text_embedding` [b l c], nothing is embedded, and
        `extra[FROZEN]["empty_text"]` [1 c] is the empty prompt's. `keys("condition_drop")` decides here, on the
        device, which sequences lose their text, so that the data stay the same in every epoch.
    """
    model, settings = PrefixLM(**config.model), config.loss

    def loss_fn(params: Any, extra: Any, batch: Batch, keys: Callable[[str], Array]) -> tuple[Array, Aux]:
        rate, key = settings.condition_drop, keys("condition_drop")
        text_ids, text_mask = drop_condition(batch, rate, key)
        if "text_embedding" in batch:
            text = drop_embedding(batch, extra[FROZEN]["empty_text"], rate, key)
        else:
            each = (x.reshape(-1, x.shape[-1]) for x in (text_ids, text_mask))
            text = jax.lax.stop_gradient(text_embed(extra[FROZEN]["text_encoder"], *each))
            text = text.reshape(*text_ids.shape, text.shape[-1])
        hidden, _ = model.apply({"params": params}, whole_sequence(batch, text, text_mask))
        tokens = (jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
        sums = token_sums(model, params["output"], hidden, *tokens, settings.chunk, settings.z_coefficient)
        weight = jnp.maximum(sum(t.weight for t in sums.totals.values()), 1e-6)
        loss = sums.objective / weight
        return loss, Aux(metrics={"loss": loss} | metrics_of(sums.totals), extra=extra, weight=weight)

    return loss_fn
