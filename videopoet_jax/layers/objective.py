"""What every loss function hands to the training loop beside the loss."""

from typing import Any, NamedTuple

from jax import Array

# Where `extra` holds the state of a model that learns to tell this one's outputs from the truth.
ADVERSARY = "adversary"


class Aux(NamedTuple):
    """`loss_fn(params, extra, batch, keys) → (loss, Aux)`.

    Attributes:
        metrics: scalars to log.
        extra: variables that no gradient trains (EMA codebooks, frozen encoders), as the next step shall find them.
        outputs: what an adversary is shown, such as `{"real": …, "fake": …}`, examples first; None without one.
    """

    metrics: dict[str, Array]
    extra: Any
    outputs: Any = None
