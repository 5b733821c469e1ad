"""One optimizer step as a pure function of state and batch; the same for every model.

loss_fn(params, extra, batch, keys) -> (loss, Aux(metrics, extra))
train_step = make_train_step(loss_fn, optimizer, ema_decay=0.999)
state, metrics = train_step(state, batch)              # `loop.fit` compiles and repeats it
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from videopoet_jax.training.state import TrainState, purpose_key

PyTree = Any
LossFn = Callable[..., tuple[jax.Array, Any]]
TrainStep = Callable[[TrainState, PyTree], tuple[TrainState, dict[str, jax.Array]]]


def ema_weight(decay: float, step: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
    """The weight of the old average: `decay`, but less at first, so that the start is soon forgotten.

    `decay 0.999, steps 0 9 9999 → 0.1 0.53 0.999`
    """
    return jnp.minimum(decay, (1 + step) / (10 + step)).astype(jnp.float32)


def make_train_step(loss_fn: LossFn, optimizer: optax.GradientTransformation, *, ema_decay: float | None) -> TrainStep:
    """The step `(state, batch) → (state, metrics)`.

    Args:
        loss_fn: `(params, extra, batch, keys) → (loss, aux)`; `keys("mask")` is the key of that purpose at this step,
            `aux.metrics` are scalars to log and `aux.extra` the next `state.extra`.
        ema_decay: decay of the moving average of the parameters; None keeps none.
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
        metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), **aux.metrics}
        state = state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, ema_params=ema_params, extra=aux.extra
        )
        return state, metrics

    return train_step
