"""The state lies where its parameters lie, and keys come from purpose and step alone."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tiny_model import Mlp, new_state

from videopoet_jax.parallel import initialize, make_mesh
from videopoet_jax.training.optimizer import make_optimizer
from videopoet_jax.training.state import create_state, purpose_key


def bits(key):
    return jax.random.key_data(key).tolist()


def test_a_key_is_folded_from_purpose_and_step():
    key = jax.random.key(5)
    expected = jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(b"mask")), 7)
    assert bits(purpose_key(key, "mask", 7)) == bits(expected)
    assert bits(jax.jit(lambda step: purpose_key(key, "mask", step))(7)) == bits(expected)


def test_keys_of_other_purposes_steps_and_runs_differ():
    keys = [purpose_key(jax.random.key(s), p, n) for s in (0, 1) for p in ("mask", "noise") for n in range(5)]
    assert len({tuple(bits(key)) for key in keys}) == 20


def test_parameters_moments_and_average_share_their_sharding():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    state = new_state(mesh)
    adam = next(s for s in state.opt_state[1] if isinstance(s, optax.ScaleByAdamState))
    for tree in (state.params, adam.mu, adam.nu, state.ema_params):
        assert tree["up"].sharding.spec == P("fsdp", "tensor")
        assert tree["down"].sharding.spec == P("tensor", "fsdp")
        assert {shard.data.shape for shard in tree["up"].addressable_shards} == {(2, 8)}
    for whole in (state.step, state.key, adam.count, state.extra["calls"]):
        assert whole.sharding.is_fully_replicated and len(whole.sharding.device_set) == 8


def test_rows_and_columns_of_factored_moments_lie_as_their_dimensions_do():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    numbers = dict(learning_rate=1e-3, b1=0.0, b2=0.99, eps=1e-8, weight_decay=0.0, clip_norm=1.0)
    optimizer, sharding = make_optimizer(name="adafactor", **numbers), NamedSharding(mesh, P(None, "fsdp", "tensor"))
    shapes = {"gate": (3, 128, 256), "square": (3, 128, 128), "wide": (3, 256, 128)}
    params = {name: jax.device_put(np.ones(shape, np.float32), sharding) for name, shape in shapes.items()}
    params["b"] = jnp.ones(5)
    state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(0))
    leaves = jax.tree.leaves(state.opt_state, is_leaf=lambda s: hasattr(s, "v_row"))
    factored = next(s for s in leaves if hasattr(s, "v_row"))
    for name in ("gate", "square"):
        assert factored.v_row[name].sharding.spec == P(None, "fsdp")
        assert factored.v_col[name].sharding.spec == P(None, "tensor")
    assert factored.v_row["wide"].sharding.spec == P(None, "tensor")  # Optax's rows are means over the largest
    assert factored.v_col["wide"].sharding.spec == P(None, "fsdp")
    assert factored.v["b"].sharding.is_fully_replicated and factored.v["gate"].shape == (1,)
    grads = jax.tree.map(jnp.ones_like, state.params)
    with jax.set_mesh(mesh):
        _, after = jax.jit(optimizer.update)(grads, state.opt_state, state.params)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), after,
                                            state.opt_state)))  # fmt: skip


def test_the_average_is_a_copy_of_its_own():
    state = new_state(make_mesh())
    state.params["up"].delete()
    assert np.all(np.isfinite(state.ema_params["up"]))


def test_numpy_parameters_are_replicated():
    mesh = make_mesh()
    optimizer = make_optimizer(
        name="adam", learning_rate=1e-3, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0, clip_norm=None
    )
    state = create_state({"w": np.ones((3, 3), np.float32)}, optimizer, mesh=mesh, key=jax.random.key(0))
    assert len(state.params["w"].sharding.device_set) == 8 and state.ema_params is None and state.extra == {}


@pytest.mark.parametrize("sizes", [{"fsdp": 2}, {"tensor": 2}])
def test_the_mesh_does_not_change_the_initial_parameters(sizes):
    init = lambda key: Mlp(width=16).init(key, jnp.zeros((1, 4)))["params"]  # noqa: E731
    one = initialize(init, make_mesh(jax.devices()[:1]), jax.random.key(3))
    many = initialize(init, make_mesh(**sizes), jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, one, many)
