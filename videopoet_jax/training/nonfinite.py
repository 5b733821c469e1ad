"""What a run does at a step whose loss or gradient is NaN or infinite; parameters that are not finite are never saved.

    abort       the run ends; the last checkpoint stands
    skip        the step changes nothing but the count of steps, and the next batch comes
    roll-back   the newest checkpoint's state goes on, with the batch after those that were read

Each time the examples of the batch are told. What happens more than `MOST` times in a run ends it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videopoet_jax.layers.objective import Metrics
from videopoet_jax.training.state import TrainState
from videopoet_jax.training.step import TrainStep

ABORT, SKIP, ROLL_BACK = POLICIES = ("abort", "skip", "roll-back")
MOST = 10  # ours
SKIPPED = "skipped"  # a metric of `skipping`: 1 of a step that changed nothing


class NonFinite(RuntimeError):
    """The loss or a gradient became NaN or infinite; nothing after the last checkpoint was saved."""


def decisive(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Those metrics that must be finite: losses and norms of gradients, an adversary's too."""
    return {name: value for name, value in metrics.items() if name.endswith(("loss", "grad_norm"))}


def skipping(train_step: TrainStep) -> TrainStep:
    """`train_step`, which leaves the state as it is, its count of steps aside, where what is decisive is not finite."""

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        new, metrics = train_step(state, batch)
        fine = jnp.all(jnp.isfinite(jnp.stack([jnp.float32(value) for value in decisive(metrics).values()])))
        kept = jax.tree.map(lambda after, before: jnp.where(fine, after, before), new, state)
        return kept.replace(step=new.step), {**metrics, SKIPPED: jnp.float32(~fine)}

    return step


def told(step: int, values: Mapping[str, float], ids: Mapping[str, np.ndarray]) -> str:
    """One line: the step, what is not finite, and the examples of the batch."""
    found = {name: list_.tolist() for name, list_ in ids.items()}
    return (
        f"step {step}: loss {values['loss']}, gradient norm {values.get('grad_norm')}, batch {found}: must be finite "
        f"(so must those of an adversary); lower the learning rate or look at these examples. Nothing of it was saved."
    )
