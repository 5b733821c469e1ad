"""The device mesh: four axes, whatever the number of devices."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "tensor", "sequence")


def make_mesh(
    devices: Sequence[jax.Device] | None = None, *, data: int = -1, fsdp: int = 1, tensor: int = 1, sequence: int = 1
) -> Mesh:
    """A mesh of `devices` (default: all) with axes `data, fsdp, tensor, sequence`; at most one size is -1: the rest.

    Axis types are `Auto`, so that linen's logical constraints are hints to the partitioner and not assertions.

    Raises:
        ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor, "sequence": sequence}
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"mesh {sizes}: sizes are positive and at most one is -1 (the rest of the devices).")
    fixed = int(np.prod([size for size in sizes.values() if size != -1]))
    if free:
        sizes[free[0]] = len(devices) // fixed
    if int(np.prod(list(sizes.values()))) != len(devices):
        raise ValueError(
            f"mesh {sizes} for {len(devices)} devices: the sizes must multiply to {len(devices)}; "
            f"leave one of them at -1 and choose the others among its divisors."
        )
    # JAX lays them out: on a TPU neighbours in the mesh are then neighbours in the torus.
    shape = tuple(sizes[name] for name in AXES)
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))
