"""What every loss function hands to the training loop beside the loss, and when an adversary joins it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array
from jaxtyping import Int

# Where `extra` holds the state of a model that learns to tell this one's outputs from the truth.
ADVERSARY = "adversary"

# Where `extra` holds networks that no step changes (LPIPS, T5): every run loads its own, and no checkpoint holds them.
FROZEN = "frozen"


class Mean(NamedTuple):
    """A mean over things of which a batch may have any number, none too: of several batches it is one over all."""

    total: Array
    weight: Array


Metrics = dict[str, Array | Mean]


class Aux(NamedTuple):
    """`loss_fn(params, extra, batch, keys) → (loss, Aux)`.

    Attributes:
        metrics: to log.
        extra: variables that no gradient trains (EMA codebooks, frozen encoders), as the next step shall find them.
        outputs: what an adversary is shown, such as `{"real": …, "fake": …}`, examples first; None without one.
        weight: how many things the loss is a mean over, where batches of one size may have more or fewer (tokens).
    """

    metrics: Metrics
    extra: Any
    outputs: Any = None
    weight: Any = 1.0


def from_step(start: int, step: Int[Array, ""], play: Callable, wait: Callable, *given: Any) -> Any:
    """`play(*given)` from step `start` on, `wait(*given)` before: a branch, unless it plays from the beginning."""
    return jax.lax.cond(step >= start, play, wait, *given) if start else play(*given)
