"""Cross-entropy of the output tokens, table by table and a chunk of positions at a time.

    read        <bov_o>   v7      v3      <eov_o>      hidden state i scores token i + 1
    scored      v7        v3      <eov_o> <eos>
    by the head video     video   special special

Logits exist for one chunk of one head; a chunk without tokens of a head skips it, so a layout's long runs of one
modality cost one head each.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from videopoet_jax.layers.objective import FROZEN, Aux
from videopoet_jax.lm import logits
from videopoet_jax.lm.logits import Params
from videopoet_jax.lm.tables import factor_codes, special_text_rows, split_factors
from videopoet_jax.lm.transformer import Batch, PrefixLM, whole_sequence
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.vocabulary import AUDIO, AUDIO_OFFSET, SPECIAL_TEXT, VISUAL, VISUAL_OFFSET


@flax.struct.dataclass
class Scored:
    """Of each position's target: −log p, the squared log of the partition function, whether it was the best."""

    nll: Float[Array, "b n"]
    z: Float[Array, "b n"]
    correct: Float[Array, "b n"]


@flax.struct.dataclass
class Totals:
    """Weighted sums over the tokens of one head."""

    weight: Float[Array, ""]
    nll: Float[Array, ""]
    z: Float[Array, ""]
    correct: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Head:
    """One way of scoring: the special ids, the visual codes, or one RVQ level.

    Attributes:
        name: special, video, audio_0, …
        belongs: (ids, table) → which tokens it scores.
        index: ids → the head's own numbers.
        score: (output parameters, hidden states, index) → `Scored`.
    """

    name: str
    belongs: Callable[[Array, Array], Array]
    index: Callable[[Array], Array]
    score: Callable[[Params, Array, Array], Scored]


def cross_entropy(values: Float[Array, "b n v"], targets: Int[Array, "b n"]) -> Scored:
    """`logsumexp(logits) − logits[target]`, in float32."""
    top = jax.lax.stop_gradient(jnp.max(values, axis=-1))
    log_z = top + jnp.log(jnp.sum(jnp.exp(values - top[..., None]), axis=-1))
    # A masked sum rather than a gather: it stays local where the vocabulary is split over devices.
    hit = jnp.arange(values.shape[-1]) == targets[..., None]
    of_target = jnp.sum(jnp.where(hit, values, 0.0), axis=-1)
    return Scored(nll=log_z - of_target, z=jnp.square(log_z), correct=(of_target >= top).astype(jnp.float32))


def _visual_score(model: PrefixLM) -> Callable[[Params, Array, Array], Scored]:
    """Sums over the factors, each given the true ones before it; correct is all of them."""
    factors, each = model.visual_factors, factor_codes(model.visual_codes, model.visual_factors)

    def score(output: Params, x: Array, codes: Array) -> Scored:
        parts = split_factors(codes, each, factors)
        scored = [
            cross_entropy(logits.visual_logits(output, x, parts[..., :j], each, model.epsilon), parts[..., j])
            for j in range(factors)
        ]
        correct = jnp.prod(jnp.stack([s.correct for s in scored]), axis=0)
        return Scored(nll=sum(s.nll for s in scored), z=sum(s.z for s in scored), correct=correct)

    return score


def heads(model: PrefixLM) -> tuple[Head, ...]:
    """All heads of a model."""
    rows = model.vocabulary.special_text_rows

    def audio(level: int) -> Head:
        first = AUDIO_OFFSET + level * AUDIO_CODES
        return Head(
            name=f"audio_{level}",
            belongs=lambda ids, table: (table == AUDIO) & ((ids - AUDIO_OFFSET) // AUDIO_CODES == level),
            index=lambda ids: ids - first,
            score=lambda output, x, codes: cross_entropy(logits.audio_logits(output, x, level), codes),
        )

    special = Head(
        name="special",
        belongs=lambda ids, table: table == SPECIAL_TEXT,
        index=special_text_rows,
        score=lambda output, x, index: cross_entropy(logits.special_text_logits(output, x, rows), index),
    )
    video = Head(
        name="video",
        belongs=lambda ids, table: table == VISUAL,
        index=lambda ids: ids - VISUAL_OFFSET,
        score=_visual_score(model),
    )
    return (special, video, *(audio(level) for level in range(model.audio_levels)))


def _head_totals(head: Head, output: Params, x: Array, ids: Array, table: Array, weights: Array) -> Totals:
    weights = weights * head.belongs(ids, table)

    def scored(output: Params, x: Array, index: Array, weights: Array) -> Totals:
        s = head.score(output, x, index)
        return Totals(jnp.sum(weights), *(jnp.sum(weights * value) for value in (s.nll, s.z, s.correct)))

    def nothing(*_: Any) -> Totals:
        return Totals(*[jnp.float32(0)] * 4)

    index = jnp.where(weights != 0, head.index(ids), 0)
    return jax.lax.cond(jnp.any(weights != 0), scored, nothing, output, x, index, weights)


def token_totals(
    model: PrefixLM,
    output: Params,
    hidden: Float[Array, "b n d"],
    ids: Int[Array, "b n"],
    table: Int[Array, "b n"],
    weights: Float[Array, "b n"],
    chunk: int,
) -> dict[str, Totals]:
    """Each head's sums over a batch of whole sequences; `chunk` positions of every row at a time.

    Where several share a row, the last token of one scores nothing: the first of the next is of a prefix, of no weight.
    """
    size = min(chunk, hidden.shape[1] - 1)

    def chunks(x: Array) -> Array:
        """`[b n …] → [chunks b size …]`, zeros at the end."""
        count = -(-x.shape[1] // size)
        x = jnp.pad(x, [(0, 0), (0, count * size - x.shape[1])] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)

    @jax.checkpoint  # logits are computed again on the way back rather than kept
    def one_chunk(output: Params, xs: tuple[Array, ...]) -> dict[str, Totals]:
        return {head.name: _head_totals(head, output, *xs) for head in heads(model)}

    def add(sums: dict[str, Totals], xs: tuple[Array, ...]) -> tuple[dict[str, Totals], None]:
        return jax.tree.map(jnp.add, sums, one_chunk(output, xs)), None

    zeros = {head.name: Totals(*[jnp.float32(0)] * 4) for head in heads(model)}
    shifted = (hidden[:, :-1], ids[:, 1:], table[:, 1:], weights[:, 1:])
    return jax.lax.scan(add, zeros, tuple(chunks(x) for x in shifted))[0]


def metrics_of(totals: Mapping[str, Totals]) -> dict[str, Float[Array, ""]]:
    """`loss_video, loss_audio, loss_special` in nats a token, `bits_per_token`, `accuracy_…`; absent tokens give 0.

    With several RVQ levels `loss_audio_0`, … stand beside `loss_audio`.
    """
    audio = [t for name, t in totals.items() if name.startswith("audio_")]
    groups = {name: [t] for name, t in totals.items()} if len(audio) > 1 else {}
    groups |= {"special": [totals["special"]], "video": [totals["video"]], "all": list(totals.values())}
    groups |= {"audio": audio} if audio else {}
    metrics = {}
    for name, members in groups.items():
        t = jax.tree.map(lambda *values: sum(values), *members)
        count = jnp.maximum(t.weight, 1e-6)
        metrics |= {f"loss_{name}": t.nll / count, f"accuracy_{name}": t.correct / count}
    metrics["bits_per_token"] = metrics.pop("loss_all") / jnp.log(2.0)
    metrics["accuracy"] = metrics.pop("accuracy_all")
    return metrics


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
        totals = token_totals(model, params["output"], hidden, *tokens, settings.chunk)
        weight = jnp.maximum(sum(t.weight for t in totals.values()), 1e-6)
        nll, z = (sum(getattr(t, name) for t in totals.values()) / weight for name in ("nll", "z"))
        loss = nll + settings.z_coefficient * z
        return loss, Aux(metrics={"loss": loss} | metrics_of(totals), extra=extra, weight=weight)

    return loss_fn
