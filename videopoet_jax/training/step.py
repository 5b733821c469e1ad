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

from videopoet_jax.layers.objective import ADVERSARY, FROZEN, Aux, Mean, Metrics, from_step
from videopoet_jax.parallel import constrain
from videopoet_jax.training.state import TrainState, purpose_key

PyTree = Any
LossFn = Callable[..., tuple[jax.Array, Any]]
TrainStep = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]


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
    accumulate: int = 1,
) -> TrainStep:
    """The step `(state, batch) → (state, metrics)`.

    Args:
        loss_fn: `(params, extra, batch, keys) → (loss, aux)`; `keys("mask")` is the key of that purpose at this step,
            `aux.metrics` are scalars to log and `aux.extra` the next `state.extra`.
        ema_decay: decay of the moving average of the parameters; None keeps none.
        adversary: who is trained on `aux.outputs`; `loss_fn` finds its state in `extra[ADVERSARY]`.
        accumulate: microbatches that a batch is taken in, one after the other; see `accumulated`.
    """
    grad_fn = accumulated(jax.value_and_grad(loss_fn, has_aux=True), accumulate)

    def train_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        keys = functools.partial(purpose_key, state.key, step=state.step)
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


def accumulated(grad_fn: Callable, parts: int) -> Callable:
    """`grad_fn`, `(params, extra, batch, keys) → ((loss, aux), gradient)`, in `parts` microbatches of a batch.

    parts 2, rows 0 1 2 3 → microbatches 0 2 | 1 3: rows stay on the devices that have them

    Loss, gradient and metrics are the means by `aux.weight`, and so those of the whole batch where the loss is a mean
    over so many things. Each microbatch draws with keys of its own. `extra` goes from one to the next; whole numbers
    in it, which count steps, advance once.

    Raises:
        ValueError: a batch whose rows do not divide.
    """
    if parts < 1:
        raise ValueError(f"train.accumulate {parts}: at least 1 microbatch is needed.")
    if parts == 1:
        return grad_fn

    def split(x: jax.Array) -> jax.Array:
        if x.shape[0] % parts:
            raise ValueError(
                f"train.accumulate {parts}: {x.shape[0]} rows do not divide into so many microbatches; give a divisor."
            )
        x = jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)
        return constrain(x, None, "batch", *[None] * (x.ndim - 2))

    def whole(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])

    def counts(leaf: Any) -> bool:
        return jnp.issubdtype(leaf.dtype, jnp.integer)

    def all_parts(params: PyTree, extra: PyTree, batch: PyTree, keys: Callable) -> tuple:
        still = {name: extra[name] for name in (FROZEN, ADVERSARY) if name in extra}  # no loss changes these
        moving = {name: value for name, value in extra.items() if name not in still}

        def one(carry: tuple, part: tuple) -> tuple:
            sums, now = carry
            number, rows = part
            given = jax.tree.map(lambda new, first: first if counts(first) else new, now, moving)
            own = lambda purpose: jax.random.fold_in(keys(purpose), number)  # noqa: E731
            (loss, aux), grads = grad_fn(params, {**given, **still}, rows, own)
            weight = jnp.asarray(getattr(aux, "weight", 1.0), jnp.float32)
            sums = jax.tree.map(lambda s, g: s + weight * g, sums, grads)
            now = {name: value for name, value in aux.extra.items() if name not in still}
            return (sums, now), (weight, {"loss": loss, "metrics": aux.metrics}, getattr(aux, "outputs", None))

        zeros = jax.tree.map(jnp.zeros_like, params)
        parted = (jnp.arange(parts), jax.tree.map(split, batch))
        (sums, now), (weights, means, outputs) = jax.lax.scan(one, (zeros, moving), parted)
        shares = weights / jnp.maximum(jnp.sum(weights), 1e-6)
        means = jax.tree.map(lambda x: together(x, shares), means, is_leaf=lambda x: isinstance(x, Mean))
        grads = jax.tree.map(lambda s: s / jnp.maximum(jnp.sum(weights), 1e-6), sums)
        aux = Aux(means["metrics"], {**now, **still}, jax.tree.map(whole, outputs), jnp.sum(weights))
        return (means["loss"], aux), grads

    return all_parts


def together(values: jax.Array | Mean, shares: jax.Array) -> jax.Array | Mean:
    """Of a value in each microbatch, its mean by their shares; a `Mean` knows its own."""
    if isinstance(values, Mean):
        return Mean(jnp.sum(values.total), jnp.sum(values.weight))
    return jnp.sum(shares * values)


def train_adversary(
    adversary: Adversary, state: TrainState, outputs: PyTree, step: Int[jax.Array, ""]
) -> tuple[TrainState, Metrics]:
    """The adversary's next state, `outputs` shown to it, and its metrics; before it starts the same state and zeros."""

    def learn(state: TrainState, outputs: PyTree) -> tuple[TrainState, Metrics]:
        state, metrics = adversary.train_step(state, outputs)
        return state, {f"{ADVERSARY}_{name}": value for name, value in metrics.items()}

    def wait(state: TrainState, outputs: PyTree) -> tuple[TrainState, Metrics]:
        _, metrics = jax.eval_shape(learn, state, outputs)
        return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)

    outputs = jax.lax.stop_gradient(outputs)
    return from_step(adversary.start, step, learn, wait, state, outputs)
