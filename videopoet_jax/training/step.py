"""One optimizer step as a pure function of state and batch; the same for every model.

loss_fn(params, extra, batch, keys) -> (loss, Aux(metrics, extra))
train_step = make_train_step(loss_fn, optimizer, ema_decay=0.999)
state, metrics = train_step(state, batch)              # `loop.fit` compiles and repeats it

Two players, two optimizers, one step: an adversary is a second `TrainState` inside the first one's `extra`, and its
step is made by the same function. It is shown what the model made in this step, and learns after it.

second = make_train_step(adversary_loss, adversary_optimizer, ema_decay=None)     # its batch is `aux.outputs`
train_step = make_train_step(loss_fn, optimizer, ema_decay=0.999, adversary=Adversary(second, start=5000))
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from videopoet_jax.layers.objective import ADVERSARY, from_step
from videopoet_jax.training.state import TrainState, purpose_key

PyTree = Any
LossFn = Callable[..., tuple[jax.Array, Any]]
TrainStep = Callable[[TrainState, PyTree], tuple[TrainState, dict[str, jax.Array]]]


class Adversary(NamedTuple):
    """Who learns to tell a model's outputs from the truth.

    Attributes:
        train_step: `(state, outputs) → (state, metrics)` over the `TrainState` in `extra[ADVERSARY]`.
        start: the model's step from which on it learns; a late start leaves it something to find.
    """

    train_step: TrainStep
    start: int


def ema_weight(decay: float, step: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
    """The weight of the old average: `decay`, but less at first, so that the start is soon forgotten.

    `decay 0.999, steps 0 9 9999 → 0.1 0.53 0.999`
    """
    return jnp.minimum(decay, (1 + step) / (10 + step)).astype(jnp.float32)


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None,
    adversary: Adversary | None = None,
) -> TrainStep:
    """The step `(state, batch) → (state, metrics)`.

    Args:
        loss_fn: `(params, extra, batch, keys) → (loss, aux)`; `keys("mask")` is the key of that purpose at this step,
            `aux.metrics` are scalars to log and `aux.extra` the next `state.extra`.
        ema_decay: decay of the moving average of the parameters; None keeps none.
        adversary: who is trained on `aux.outputs`; `loss_fn` finds its state in `extra[ADVERSARY]`.
    """

    def train_step(state: TrainState, batch: PyTree) -> tuple[TrainState, dict[str, jax.Array]]:
        keys = functools.partial(purpose_key, state.key, step=state.step)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), grads = grad_fn(state.params, state.extra, batch, keys)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_decay is not None:
            weight = ema_weight(ema_decay, state.step)
            ema_params = jax.tree.map(lambda old, new: weight * old + (1 - weight) * new, ema_params, params)
        metrics, extra = {"loss": loss, "grad_norm": optax.global_norm(grads), **aux.metrics}, aux.extra
        if adversary is not None:
            trained, seen = train_adversary(adversary, extra[ADVERSARY], aux.outputs, state.step)
            extra, metrics = {**extra, ADVERSARY: trained}, {**metrics, **seen}
        state = state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, ema_params=ema_params, extra=extra
        )
        return state, metrics

    return train_step


def train_adversary(
    adversary: Adversary, state: TrainState, outputs: PyTree, step: Int[jax.Array, ""]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The adversary's next state, `outputs` shown to it, and its metrics; before it starts the same state and zeros."""

    def learn(state: TrainState, outputs: PyTree) -> tuple[TrainState, dict[str, jax.Array]]:
        state, metrics = adversary.train_step(state, outputs)
        return state, {f"{ADVERSARY}_{name}": value for name, value in metrics.items()}

    def wait(state: TrainState, outputs: PyTree) -> tuple[TrainState, dict[str, jax.Array]]:
        _, metrics = jax.eval_shape(learn, state, outputs)
        return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)

    outputs = jax.lax.stop_gradient(outputs)
    return from_step(adversary.start, step, learn, wait, state, outputs)
