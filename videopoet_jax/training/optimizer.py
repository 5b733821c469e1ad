"""Optimizers, from the numbers of a config.

optimizer = make_optimizer(name="adamw", learning_rate=schedule, b1=0.9, b2=0.99, eps=1e-8,
                           weight_decay=0.01, clip_norm=1.0)
"""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

PyTree = Any

# Gains and offsets are not decayed. By name and not only by rank: under a scan over layers they are matrices.
NEVER_DECAYED = ("bias", "scale")

# Muon's matrices by the parameter's name: the axes summed over and the axes made, counted from the last. Axes before
# them (the layers of a scan) are many matrices. `kernel`: a convolution's or a dense layer's, all but the last summed.
MATRICES = {
    **dict.fromkeys(("query", "key", "value"), ((-3,), (-2, -1))),
    "out": ((-3, -2), (-1,)),
    **dict.fromkeys(("gate", "up", "down"), ((-2,), (-1,))),
}
MUON_MOMENTUM = 0.95  # Jordan, 2024
MUON_RMS = 0.2  # Liu et al., 2025: an update as large as AdamW's, so that one learning rate serves both


def matrices(params: PyTree) -> PyTree:
    """For each parameter how Muon shall see it as a matrix, or None: tables, gains and offsets, which go to Adam."""

    def one(path: tuple, leaf: Any) -> MuonDimensionNumbers | None:
        name = str(getattr(path[-1], "key", path[-1])) if path else ""
        axes = (tuple(range(-leaf.ndim, -1)), (-1,)) if name == "kernel" else MATRICES.get(name)
        return axes and MuonDimensionNumbers(*(tuple(leaf.ndim + axis for axis in side) for side in axes))

    return jax.tree_util.tree_map_with_path(one, params)


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
    """`adam`, `adamw` or `muon`, after clipping the gradients to a global norm of `clip_norm` (None: no clipping).

    Muon (Jordan, 2024) steps each matrix by its orthogonalised momentum; what is no matrix goes to Adam.
    """
    if name == "adam" and weight_decay:
        raise ValueError(f"weight_decay {weight_decay}: adam has none; set it to 0 or choose adamw.")
    if name == "adam":
        update = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    elif name == "adamw":
        update = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decayed)
    elif name == "muon":
        update = muon(
            learning_rate,
            beta=MUON_MOMENTUM,
            eps=eps,
            weight_decay=weight_decay,
            adam_b1=b1,
            adam_b2=b2,
            consistent_rms=MUON_RMS,
            muon_weight_dimension_numbers=matrices,
        )
    else:
        raise ValueError(f"optimizer {name!r}: unknown; choose adam, adamw or muon.")
    return update if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), update)
