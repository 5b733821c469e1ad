"""Logical axis names and the one table that says which mesh axis each of them is split over.

Modules speak of `embed` and `conv_out`, never of `fsdp` and `tensor`; a name that the table lacks raises, because
linen would otherwise replicate the array in silence.

    constrain(x, "batch", "length", "activation_embed")      an activation
    partitioned(init, "embed", "mlp")                        a parameter's initializer
"""

from collections.abc import Callable, Collection

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

# T5X's names first, then our own for convolutions and codes. A tuple means: split over both mesh axes.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": "sequence",
    "vocab": "tensor",
    "embed": "fsdp",
    "mlp": "tensor",
    "heads": "tensor",
    "kv": None,
    "joined_kv": "tensor",
    "layers": None,
    "activation_embed": None,  # activations keep their width whole; only parameters are split over `fsdp`
    "frames": None,
    "height": None,
    "width": None,
    "samples": None,
    "conv_t": None,
    "conv_h": None,
    "conv_w": None,
    "conv_in": "fsdp",
    "conv_out": "tensor",
    "activation_channels": "tensor",
    "norm": None,
    "factor": None,
    "position": None,
    "relpos_buckets": None,
}


def mesh_axes(*names: str | None) -> PartitionSpec:
    """The mesh axes of logical `names`; `None` leaves a dimension whole.

    `("batch", "length", None) → PartitionSpec(("data", "fsdp"), "sequence", None)`
    """
    unknown = [n for n in names if n is not None and n not in RULES]
    if unknown:
        raise ValueError(
            f"logical axes {unknown}: not in the rules; use one of {sorted(RULES)} or add a rule in axes.py."
        )
    split = [None if name is None else RULES[name] for name in names]
    used = [axis for axes in split for axis in ([axes] if isinstance(axes, str) else axes or ())]
    twice = sorted({axis for axis in used if used.count(axis) > 1})
    if twice:
        raise ValueError(f"logical axes {names}: two of them lie on mesh axis {twice[0]!r}; rename one of the two.")
    return PartitionSpec(*split)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """`x` laid out as its logical `names` say; without a mesh (`jax.set_mesh`), `x` as it is.

    Mesh axes of size one drop out, and inside `jax.shard_map` those that it takes over. Raises for an unknown name or a
    wrong number of names.
    """
    spec = mesh_axes(*names)
    if len(names) != x.ndim:
        raise ValueError(f"{len(names)} axis names {names} for an array of shape {x.shape}: name every dimension once.")
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    if mesh.manual_axes:
        spec = PartitionSpec(*[_without(axes, mesh.manual_axes) for axes in spec])
    return jax.lax.with_sharding_constraint(x, spec)


def _without(axes: str | tuple[str, ...] | None, taken: Collection[str]) -> tuple[str, ...] | None:
    """`("data", "fsdp") without fsdp → ("data",)`"""
    axes = (axes,) if isinstance(axes, str) else axes or ()
    return tuple(axis for axis in axes if axis not in taken) or None


def partitioned(init: Callable, *names: str | None) -> Callable:
    """The initializer `init`, its result boxed with logical `names` (read back by `shardings.param_shardings`)."""
    mesh_axes(*names)
    return nn.with_logical_partitioning(init, names)
