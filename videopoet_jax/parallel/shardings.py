"""From logical axis names to `NamedSharding`s, and parameters created where they will live."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from videopoet_jax.parallel.axes import RULES, mesh_axes

PyTree = Any


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.LogicallyPartitioned)


def _check_divides(path: tuple, shape: tuple[int, ...], names: tuple[str | None, ...], mesh: Mesh) -> None:
    for size, name in zip(shape, names, strict=True):
        axes = RULES[name] if name is not None else None
        axes = (axes,) if isinstance(axes, str) else axes or ()
        parts = int(np.prod([mesh.shape[a] for a in axes]))
        if size % parts:
            raise ValueError(
                f"{jax.tree_util.keystr(path)} of shape {shape}: axis {name!r} of size {size} does not divide over "
                f"mesh axes {axes} of size {parts}; choose a size that does or a smaller mesh axis."
            )


def param_shardings(boxed: PyTree, mesh: Mesh) -> PyTree:
    """`NamedSharding`s, unboxed, for a tree of boxed parameters (or of their shapes from `jax.eval_shape`).

    Leaves without names are replicated.

    Raises:
        ValueError: a dimension does not divide over its mesh axes; the message names the array and the axis.
    """

    def one(path: tuple, leaf: Any) -> NamedSharding:
        if not _is_box(leaf):
            return NamedSharding(mesh, PartitionSpec())
        _check_divides(path, leaf.value.shape, leaf.names, mesh)
        return NamedSharding(mesh, mesh_axes(*leaf.names))

    return jax.tree_util.tree_map_with_path(one, boxed, is_leaf=_is_box)


def abstract(init_fn: Callable[[jax.Array], PyTree]) -> PyTree:
    """Boxed shapes of what `init_fn` makes of a key; nothing is computed."""
    return jax.eval_shape(init_fn, jax.random.key(0))


def place(params: PyTree, init_fn: Callable[[jax.Array], PyTree], mesh: Mesh | None, source: Any) -> PyTree:
    """The arrays of `source` onto their devices: spread over `mesh`, or whole on the default device.

    Those that are still in a file (`pretrained.Tensor`) are read one by one, and with a mesh only the parts that this
    process's devices hold.

    Args:
        init_fn: key → the model's own boxed parameters, which say what the arrays must be and where they go.

    Raises:
        ValueError: the arrays are not the model's, in names or shapes.
    """
    boxed = check_fits(params, init_fn, source)
    if mesh is None:
        return jax.tree.map(jnp.asarray, params)

    def spread(array: Any, sharding: NamedSharding) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, lambda part: np.asarray(array[part]))

    return jax.tree.map(spread, params, param_shardings(boxed, mesh))


def check_fits(params: PyTree, init_fn: Callable[[jax.Array], PyTree], source: Any) -> PyTree:
    """The boxed shapes of what `init_fn` makes; raises as `place`, where those of `params` are others."""
    boxed = abstract(init_fn)
    have, want = (
        {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (params, nn.meta.unbox(boxed)))
    )
    wrong = sorted(name for name in have.keys() | want.keys() if have.get(name) != want.get(name))
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{source}: {len(wrong)} parameters do not fit the config, first {name}: {have.get(name, 'absent')} in the "
            f"file, {want.get(name, 'absent')} in the model; take config and weights from one directory."
        )
    return boxed


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a host batch: its first dimension over `data` and `fsdp`."""
    return NamedSharding(mesh, mesh_axes("batch"))


def spread(batch: PyTree, mesh: Mesh) -> PyTree:
    """A batch that every process has whole, as global arrays: split by their first dimension where that divides, else
    on every device. Without a mesh, as it is."""
    if mesh.empty:
        return batch
    shares = mesh.shape["data"] * mesh.shape["fsdp"]

    def one(array: Any) -> jax.Array:
        place = replicated(mesh) if array.shape[0] % shares else batch_sharding(mesh)
        return jax.make_array_from_callback(array.shape, place, lambda part: array[part])

    return jax.tree.map(one, batch)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def initialize(init_fn: Callable[..., PyTree], mesh: Mesh, *args: Any) -> PyTree:
    """`init_fn(*args)`, unboxed, every array created on its own devices (never whole on one of them)."""
    shardings = param_shardings(jax.eval_shape(init_fn, *args), mesh)
    with jax.set_mesh(mesh):
        return jax.jit(lambda *a: nn.meta.unbox(init_fn(*a)), out_shardings=shardings)(*args)
