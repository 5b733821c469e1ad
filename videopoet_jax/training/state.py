"""What a training run carries from step to step, and the random keys it draws.

state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(seed), ema=True)
key = purpose_key(state.key, "mask", state.step)      # the same key whenever step 7 asks for "mask"
"""

import dataclasses
import zlib
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int, PRNGKeyArray

from videopoet_jax.parallel import param_shardings, replicated

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """Everything that training needs to go on bit for bit.

    Attributes:
        step: optimizer steps taken.
        params: parameters, unboxed, each on its own devices.
        opt_state: Optax's state, each moment laid out like its parameter.
        ema_params: moving average of the parameters, or None.
        extra: variables that are not trained by gradient (EMA codebooks), passed through the loss; frozen networks lie
            under `objective.FROZEN` and are not saved.
        key: the run's one random key; never split, only folded (`purpose_key`).
    """

    step: Any  # Int[Array, ""]; the fields are untyped because the same tree also holds shapes and shardings
    params: PyTree
    opt_state: PyTree
    ema_params: PyTree
    extra: PyTree
    key: Any  # PRNGKeyArray


def purpose_key(key: PRNGKeyArray, purpose: str, step: Int[jax.Array, ""] | int) -> PRNGKeyArray:
    """The key of one purpose at one step: `fold_in(fold_in(key, crc32(purpose)), step)`.

    It depends on nothing else, so a resumed run draws what the uninterrupted one would have drawn.
    """
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(purpose.encode())), step)


def _on_mesh(tree: PyTree, mesh: Mesh) -> PyTree:
    """`tree` with every leaf on `mesh`: a leaf that is already there stays, any other is replicated."""
    whole = replicated(mesh)

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and getattr(leaf.sharding, "mesh", None) == mesh:
            return leaf
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        # Through the host: other processes' devices take no array of this process's.
        return jax.device_put(np.asarray(leaf), whole)

    return jax.tree.map(place, tree)


@dataclasses.dataclass(frozen=True)
class _Moment:
    """A leaf of an optimizer's state: its shape, and the fields of named tuples that lead to it."""

    shape: tuple[int, ...]
    names: set[str | None]


def _optimizer_shardings(optimizer: optax.GradientTransformation, params: PyTree, mesh: Mesh) -> PyTree:
    """The shardings of the optimizer's state, see `moment_axes`.

    jit would replicate them: `zeros_like(p)` does not depend on p's data, so nothing propagates.
    """
    state, axes = jax.eval_shape(optimizer.init, params), jax.tree.map(lambda p: p.sharding.spec, params)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), moment_axes(optimizer, state, params, axes))


def moment_axes(optimizer: optax.GradientTransformation, state: PyTree, params: PyTree, axes: PyTree) -> PyTree:
    """The axes of an optimizer's state: a moment of a parameter's shape lies as the parameter does, one that lacks a
    dimension (Adafactor's rows and columns) so in the others, and anything else is whole.

    parameter [8 4], axes P("fsdp", "tensor"): moment [8 4] → P("fsdp", "tensor"), moment [4] → P("tensor")

    Args:
        state, params: arrays or shapes.
        axes: of each parameter a `PartitionSpec`, of mesh axes or of logical names.
    """

    def masked(moment: Any) -> bool:  # where an optimizer of several kinds leaves a parameter to another kind
        return isinstance(moment, optax.MaskedNode)

    def named(path: tuple, moment: Any) -> Any:
        return moment if masked(moment) else _Moment(moment.shape, {getattr(entry, "name", None) for entry in path})

    def like(moment: Any, param: Any, axes: PartitionSpec) -> Any:
        if masked(moment):
            return moment
        return axes if moment.shape == param.shape else _without_a_dimension(param.shape, axes, moment)

    return optax.tree_utils.tree_map_params(
        optimizer,
        like,
        jax.tree_util.tree_map_with_path(named, state, is_leaf=masked),
        params,
        axes,
        transform_non_params=lambda _: PartitionSpec(),
        is_leaf=masked,
    )


def _without_a_dimension(shape: tuple[int, ...], axes: PartitionSpec, moment: _Moment) -> PartitionSpec:
    """The axes of a factor of Adafactor's second moment: [8 8] over (fsdp, tensor), v_col [8] → (tensor); none of what
    is no factor.

    As Optax chooses: of the two largest dimensions, by `argsort`, rows are means over the last, columns over the other.
    """
    if not moment.names & {"v_row", "v_col"} or len(shape) < 2:
        return PartitionSpec()
    i = int(np.argsort(shape)[-1 if "v_row" in moment.names else -2])
    if (*shape[:i], *shape[i + 1 :]) != moment.shape:  # too small to be factored
        return PartitionSpec()
    axes = (*axes, *[None] * (len(shape) - len(axes)))
    return PartitionSpec(*axes[:i], *axes[i + 1 :])


def abstract_state(
    boxed: PyTree, optimizer: optax.GradientTransformation, *, mesh: Mesh, extra: PyTree, ema: bool
) -> TrainState:
    """Shapes and shardings of the state that `create_state` would make, for compiling where its devices are not.

    Args:
        boxed: the parameters' shapes with their logical names, as `parallel.abstract` gives them.
        extra: shapes, replicated.
    """
    whole = replicated(mesh)

    def on(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    params = jax.tree.map(on, nn.meta.unbox(boxed), param_shardings(boxed, mesh))
    moments = jax.eval_shape(optimizer.init, params)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return TrainState(
        step=jax.ShapeDtypeStruct((), np.int32, sharding=whole),
        params=params,
        opt_state=jax.tree.map(on, moments, _optimizer_shardings(optimizer, params, mesh)),
        ema_params=params if ema else None,
        extra=jax.tree.map(lambda shape: on(shape, whole), extra),
        key=on(key, whole),
    )


def create_state(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    key: PRNGKeyArray,
    extra: PyTree = None,
    ema: bool = False,
) -> TrainState:
    """A state at step 0, every array created where it will stay.

    Args:
        params: unboxed parameters, as `parallel.initialize` makes them. The state takes them over: the first training
            step reuses their memory.
        extra: other variables the loss function reads or updates; None for none.
        ema: keep a moving average of the parameters (`make_train_step(..., ema_decay=…)` then updates it).

    Raises:
        TypeError: parameters in half precision, to which small steps would add nothing.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise TypeError(f"parameter {name} of {leaf.dtype}: what trains must be float32; read the weights as such.")
    params = _on_mesh(params, mesh)
    with jax.set_mesh(mesh):
        opt_state = jax.jit(optimizer.init, out_shardings=_optimizer_shardings(optimizer, params, mesh))(params)
    return TrainState(
        step=_on_mesh(np.zeros((), np.int32), mesh),
        params=params,
        opt_state=opt_state,
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        extra=_on_mesh({} if extra is None else extra, mesh),
        key=_on_mesh(key, mesh),
    )
