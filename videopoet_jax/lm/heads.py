"""The ways of scoring a token: against the special ids, the visual codes, or one level of the sound's."""

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.lm import logits
from videopoet_jax.lm.logits import Params
from videopoet_jax.lm.tables import factor_codes, special_text_rows, split_factors
from videopoet_jax.lm.transformer import PrefixLM
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
