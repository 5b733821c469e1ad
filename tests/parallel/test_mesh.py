"""Four axes for any number of devices; sizes that do not multiply to it are named."""

import jax
import pytest
from jax.sharding import AxisType

from videopoet_jax.parallel import make_mesh


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({}, (8, 1, 1, 1)),
        ({"fsdp": 2}, (4, 2, 1, 1)),
        ({"fsdp": 2, "tensor": 2, "sequence": 2}, (1, 2, 2, 2)),
        ({"data": 2, "fsdp": -1}, (2, 4, 1, 1)),
        ({"data": 1, "tensor": 8}, (1, 1, 8, 1)),
    ],
)
def test_the_free_size_takes_the_rest(sizes, shape):
    mesh = make_mesh(**sizes)
    assert mesh.devices.shape == shape and mesh.axis_names == ("data", "fsdp", "tensor", "sequence")
    assert set(mesh.devices.flat) == set(jax.devices())


def test_axes_are_auto_or_constraints_would_be_assertions():
    assert set(make_mesh().axis_types) == {AxisType.Auto}


def test_fewer_devices_make_a_smaller_mesh():
    assert make_mesh(jax.devices()[:1]).devices.shape == (1, 1, 1, 1)
    assert make_mesh(jax.devices()[2:6], tensor=2).devices.shape == (2, 1, 2, 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 3}, "must multiply to 8"),
        ({"tensor": 3}, "must multiply to 8"),
        ({"tensor": 16}, "must multiply to 8"),
        ({"fsdp": -1}, "at most one is -1"),
        ({"fsdp": 0}, "sizes are positive"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(**sizes)
