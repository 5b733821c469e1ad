"""Parameters are created where they live, stay there under jit, and name what does not divide."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from videopoet_jax.parallel import batch_sharding, constrain, initialize, make_mesh, param_shardings, partitioned
from videopoet_jax.parallel import replicated as whole_on


class Layer(nn.Module):
    """A matrix up, a gain, a matrix down."""

    width: int = 16

    @nn.compact
    def __call__(self, x, _=None):
        normal = nn.initializers.normal(1.0)
        up = self.param("up", partitioned(normal, "embed", "mlp"), (8, self.width), jnp.float32)
        gain = self.param("gain", nn.initializers.ones, (self.width,), jnp.float32)
        down = self.param("down", partitioned(normal, "mlp", "embed"), (self.width, 8), jnp.float32)
        hidden = constrain(jnp.tanh(x @ up) * gain, "batch", "mlp")
        return constrain(hidden @ down, "batch", "activation_embed"), None


class Stack(nn.Module):
    """Three layers under one scan; the new leading axis is named `layers`."""

    @nn.compact
    def __call__(self, x):
        scanned = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned()(x, None)[0]


def init(module):
    return lambda key: module.init(key, jnp.zeros((1, 8)))["params"]


def shards(array):
    return {shard.data.shape for shard in array.addressable_shards}


def test_parameters_are_created_on_their_own_devices():
    params = initialize(init(Layer()), make_mesh(data=2, fsdp=2, tensor=2), jax.random.key(0))
    assert params["up"].sharding.spec == PartitionSpec("fsdp", "tensor") and shards(params["up"]) == {(4, 8)}
    assert params["down"].sharding.spec == PartitionSpec("tensor", "fsdp") and shards(params["down"]) == {(8, 4)}
    assert params["gain"].sharding.is_fully_replicated and shards(params["gain"]) == {(16,)}
    assert len(params["gain"].sharding.device_set) == 8


def test_scanned_parameters_are_split_behind_their_layers():
    params = initialize(init(Stack()), make_mesh(data=2, fsdp=2, tensor=2), jax.random.key(0))
    layers = next(iter(params.values()))
    assert layers["up"].shape == (3, 8, 16) and shards(layers["up"]) == {(3, 4, 8)}


def test_gradients_of_split_parameters_are_those_of_whole_ones():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    module, x = Layer(), np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)

    def loss(params, x):
        return jnp.mean(module.apply({"params": params}, x)[0] ** 2)

    params = initialize(init(module), mesh, jax.random.key(0))
    with jax.set_mesh(mesh):
        shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
        grads = jax.jit(jax.grad(loss), out_shardings=shardings)(params, jax.device_put(x, batch_sharding(mesh)))
    assert shards(grads["up"]) == {(4, 8)} and shards(grads["down"]) == {(8, 4)}
    alone = jax.grad(loss)(jax.tree.map(np.asarray, params), x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, alone)


def test_a_hidden_activation_of_a_module_is_split_as_named():
    mesh, seen = make_mesh(data=2, fsdp=2, tensor=2), []

    class Spy(Layer):
        @nn.compact
        def __call__(self, x, _=None):
            up = self.param("up", partitioned(nn.initializers.ones, "embed", "mlp"), (8, self.width), jnp.float32)
            hidden = constrain(x @ up, "batch", "mlp")
            jax.debug.inspect_array_sharding(hidden, callback=seen.append)
            return hidden, None

    params = initialize(init(Spy()), mesh, jax.random.key(0))
    with jax.set_mesh(mesh):
        jax.jit(lambda p, x: Spy().apply({"params": p}, x)[0])(params, jnp.ones((8, 8)))
    assert {sharding.shard_shape((8, 16)) for sharding in seen} == {(2, 8)}


def test_a_shape_that_does_not_divide_names_array_and_axis():
    message = r"'down'.*\(12, 8\): axis 'mlp' of size 12 does not divide over .*'tensor'.* of size 8"
    with pytest.raises(ValueError, match=message):
        initialize(init(Layer(width=12)), make_mesh(tensor=8), jax.random.key(0))


def test_shardings_of_shapes_alone():
    boxed = jax.eval_shape(init(Layer()), jax.random.key(0))
    shardings = param_shardings(boxed, make_mesh(fsdp=4, tensor=2))
    assert shardings["up"].spec == PartitionSpec("fsdp", "tensor") and shardings["gain"].spec == PartitionSpec()


def test_a_batch_is_split_over_data_and_fsdp_only():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    x = jax.device_put(np.arange(24).reshape(8, 3), batch_sharding(mesh))
    assert shards(x) == {(2, 3)} and shards(jax.device_put(np.ones(5), whole_on(mesh))) == {(5,)}
