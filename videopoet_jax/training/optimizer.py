"""Optimizers, from the numbers of a config.

optimizer = make_optimizer(name="adamw", learning_rate=schedule, b1=0.9, b2=0.99, eps=1e-8,
                           weight_decay=0.01, clip_norm=1.0)
"""

from typing import Any

import jax
import optax

PyTree = Any

# Gains and offsets are not decayed. By name and not only by rank: under a scan over layers they are matrices.
NEVER_DECAYED = ("bias", "scale")


def decayed(params: PyTree) -> PyTree:
    """True for the parameters that weight decay acts on: matrices and kernels, not biases, gains or offsets."""

    def one(path: tuple, leaf: Any) -> bool:
        name = str(getattr(path[-1], "key", path[-1])) if path else ""
        return leaf.ndim >= 2 and name not in NEVER_DECAYED

    return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(
    *,
    name: str,
    learning_rate: float | optax.Schedule,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
    clip_norm: float | None,
) -> optax.GradientTransformation:
    """`adam` or `adamw`, after clipping the gradients to a global norm of `clip_norm` (None: no clipping)."""
    if name == "adam" and weight_decay:
        raise ValueError(f"weight_decay {weight_decay}: adam has none; set it to 0 or choose adamw.")
    if name == "adam":
        update = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    elif name == "adamw":
        update = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decayed)
    else:
        raise ValueError(f"optimizer {name!r}: unknown; choose adam or adamw.")
    return update if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), update)
