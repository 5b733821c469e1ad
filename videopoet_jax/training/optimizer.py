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

# Adafactor's own numbers (Shazeer & Stern, 2018).
ADAFACTOR_DECAY = 0.8  # of the second moments: 1 − step^−0.8 of the old is kept
ADAFACTOR_CLIP = 1.0  # root mean square of an update
ADAFACTOR_LEAST = 64  # ours (128 in T5X): a moment of two dimensions as large is a row and a column; heads have 64
ADAFACTOR_EPS = 1e-30


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
    """`adam`, `adamw`, `muon` or `adafactor`, after clipping the gradients to a global norm of `clip_norm` (None: not).

    Muon (Jordan, 2024) steps each matrix by its orthogonalised momentum; what is no matrix goes to Adam. Adafactor
    keeps of second moments a row and a column, and steps each array in proportion to its own size (the layers of a
    scan are one array); `b1` is its momentum, of which 0 keeps none and saves the memory of it, and `b2` and `eps` are
    not used.
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
    elif name == "adafactor":
        update = optax.chain(
            optax.scale_by_factored_rms(
                decay_rate=ADAFACTOR_DECAY, min_dim_size_to_factor=ADAFACTOR_LEAST, epsilon=ADAFACTOR_EPS
            ),
            optax.clip_by_block_rms(ADAFACTOR_CLIP),
            optax.scale_by_param_block_rms(),
            optax.ema(b1, debias=False) if b1 else optax.identity(),
            optax.add_decayed_weights(weight_decay, mask=decayed),
            optax.scale_by_learning_rate(learning_rate),
        )
    else:
        raise ValueError(f"optimizer {name!r}: unknown; choose adam, adamw, muon or adafactor.")
    return update if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), update)
