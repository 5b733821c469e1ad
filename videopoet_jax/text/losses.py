"""The objective that a small text encoder is trained with: take spans out, guess them where they stood.

Not in the paper; ours: VideoPoet takes T5-XL ready-made, whose span denoising needed a decoder to write the spans out.
Only T5's encoder is used afterwards, so here there is no decoder: every missing piece leaves a sentinel in its own
place, and the encoder's output there is compared with the embedding table itself.

    a red 3 moving left </s>   →   a <x0> <x0> moving <x1> </s>     scored: red 3 left
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from videopoet_jax.layers.objective import Aux
from videopoet_jax.text.t5 import T5Encoder
from videopoet_jax.text.vocabulary import EOS


class Corrupted(NamedTuple):
    """`ids` as the encoder sees them; `scored`, where it must name the original; `hidden`, where a sentinel stands."""

    ids: Int[Array, "b l"]
    scored: Bool[Array, "b l"]
    hidden: Bool[Array, "b l"]


def corrupt(
    key: PRNGKeyArray,
    ids: Int[Array, "b l"],
    mask: Bool[Array, "b l"],
    *,
    sentinels: tuple[int, ...],
    rate: float,
    mean_span: float,
    keep: float,
) -> Corrupted:
    """Hides spans of geometric length; the pieces of one span share a sentinel, the next span has the next one.

    A fraction `keep` of the spans' pieces stays readable and is scored all the same: the encoder is used on whole
    texts, so what it says of a visible piece must name that piece too (BERT's argument).
    """
    shape, length = ids.shape, ids.shape[1]
    start, size, stay = jax.random.split(key, 3)
    starts = jax.random.bernoulli(start, rate / mean_span, shape)
    uniform = jax.random.uniform(size, shape, minval=jnp.finfo(jnp.float32).tiny)
    sizes = 1 + jnp.floor(jnp.log(uniform) / jnp.log1p(-1.0 / mean_span)).astype(jnp.int32)
    since = jnp.arange(length)[None, :] - jnp.arange(length)[:, None]  # of column after row
    covered = jnp.any(starts[:, :, None] & (since >= 0) & (since < sizes[:, :, None]), axis=1)
    scored = covered & mask & (ids != EOS)
    first = scored & ~jnp.pad(scored, ((0, 0), (1, 0)))[:, :-1]
    span = (jnp.cumsum(first, axis=1) - 1) % len(sentinels)
    hidden = scored & ~jax.random.bernoulli(stay, keep, shape)
    return Corrupted(jnp.where(hidden, jnp.asarray(sentinels, ids.dtype)[span], ids), scored, hidden)


def tied_logits(hidden: Float[Array, "b l d"], embedding: Float[Array, "v d"]) -> Float[Array, "b l v"]:
    """Scores of every piece by the embedding table itself, divided by sqrt(d) as in T5 with tied tables."""
    logits = jnp.einsum("bld,vd->blv", hidden, embedding.astype(hidden.dtype))
    return logits.astype(jnp.float32) * embedding.shape[1] ** -0.5


def denoising_loss(
    model: T5Encoder, *, sentinels: tuple[int, ...], rate: float, mean_span: float, keep: float
) -> Callable[..., tuple[Array, Aux]]:
    """The loss function of a batch {"ids": [b l], "mask": [b l]}, in the form that the training loop takes."""

    def loss_fn(
        params: Mapping[str, Any], extra: Any, batch: Mapping[str, Array], keys: Callable[[str], PRNGKeyArray]
    ) -> tuple[Float[Array, ""], Aux]:
        ids, mask = batch["ids"], batch["mask"]
        noisy = corrupt(keys("corrupt"), ids, mask, sentinels=sentinels, rate=rate, mean_span=mean_span, keep=keep)
        logits = tied_logits(model.apply({"params": params}, noisy.ids, mask), params["embedding"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
        loss = jnp.sum(losses * noisy.scored) / jnp.maximum(jnp.sum(noisy.scored), 1)
        right = (jnp.argmax(logits, axis=-1) == ids) & noisy.hidden
        accuracy = jnp.sum(right) / jnp.maximum(jnp.sum(noisy.hidden), 1)
        return loss, Aux({"hidden_accuracy": accuracy}, extra)

    return loss_fn
