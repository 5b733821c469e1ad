"""Logical names become mesh axes inside jit, for real; a name that is not in the table raises."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from videopoet_jax.parallel import RULES, constrain, make_mesh, partitioned
from videopoet_jax.parallel.axes import mesh_axes
from videopoet_jax.parallel.mesh import AXES


def sharding_inside_jit(mesh, shape, *names):
    """The sharding that the partitioner gives an activation constrained to `names`."""
    seen = []

    def forward(x):
        x = constrain(jnp.sin(x), *names)
        jax.debug.inspect_array_sharding(x, callback=seen.append)
        return x

    with jax.set_mesh(mesh):
        out = jax.jit(forward)(jnp.ones(shape))
    assert len(seen) == 1
    assert seen[0].is_equivalent_to(out.sharding, len(shape))
    return seen[0]


@pytest.mark.parametrize(
    ("sizes", "names", "spec", "shard"),
    [
        ({"data": 8}, ("batch", "length", None), (("data", "fsdp"), None, None), (1, 4, 16)),
        ({"data": 4, "fsdp": 2}, ("batch", "length", None), (("data", "fsdp"), None, None), (1, 4, 16)),
        ({"data": 2, "tensor": 4}, ("batch", "length", "mlp"), ("data", None, "tensor"), (4, 4, 4)),
        ({"data": 2, "sequence": 4}, ("batch", "length", None), ("data", "sequence", None), (4, 1, 16)),
        ({"data": 4, "fsdp": 2}, ("batch", "length", "activation_embed"), (("data", "fsdp"), None, None), (1, 4, 16)),
    ],
)
def test_an_activation_lies_where_its_names_say(sizes, names, spec, shard):
    mesh = make_mesh(**sizes)
    sharding = sharding_inside_jit(mesh, (8, 4, 16), *names)
    assert sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(*spec)), 3)
    assert sharding.shard_shape((8, 4, 16)) == shard


def test_the_values_are_the_same_with_and_without_a_mesh():
    x = jnp.arange(64.0).reshape(8, 8)
    with jax.set_mesh(make_mesh(fsdp=2, tensor=2)):
        there = jax.jit(lambda x: constrain(x, "batch", "mlp"))(x)
    np.testing.assert_array_equal(there, x)
    np.testing.assert_array_equal(constrain(x, "batch", "mlp"), x)


@pytest.mark.parametrize("inside", [True, False])
def test_a_misspelt_name_raises_with_and_without_a_mesh(inside):
    with pytest.raises(ValueError, match=r"'batsch'.*use one of.*'batch'"):
        if inside:
            sharding_inside_jit(make_mesh(), (8, 2), "batsch", None)
        else:
            constrain(jnp.ones((8, 2)), "batsch", None)


def test_every_dimension_must_be_named():
    with pytest.raises(ValueError, match=r"2 axis names .* shape \(8, 2, 3\): name every dimension once"):
        constrain(jnp.ones((8, 2, 3)), "batch", "length")


def test_a_parameter_with_a_misspelt_name_raises_before_it_is_made():
    with pytest.raises(ValueError, match="'embedd'"):
        partitioned(nn.initializers.ones, "embedd", "mlp")


def test_a_parameter_is_boxed_with_its_names():
    boxed = partitioned(nn.initializers.ones, "embed", "mlp")(jax.random.key(0), (2, 4), jnp.float32)
    assert boxed.names == ("embed", "mlp") and boxed.value.shape == (2, 4)


def test_the_rules_name_mesh_axes_only():
    for axes in RULES.values():
        assert axes is None or set([axes] if isinstance(axes, str) else axes) <= set(AXES)
    assert mesh_axes("batch", None, "mlp") == PartitionSpec(("data", "fsdp"), None, "tensor")
