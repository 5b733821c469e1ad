"""The device mesh: four axes, whatever the number of devices and of slices."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "tensor", "sequence")


def make_mesh(
    devices: Sequence[jax.Device] | None = None, *, data: int = -1, fsdp: int = 1, tensor: int = 1, sequence: int = 1
) -> Mesh:
    """A mesh of `devices` (default: all) with axes `data, fsdp, tensor, sequence`; at most one size is -1: the rest.

    Sizes are those within a slice, whose devices have fast links (ICI). Slices, which the data centre's network joins
    (DCN), multiply `data`: over them pass gradients alone, once a step.

    16 devices, `data=2, fsdp=-1` → data 2, fsdp 8;  the same in each of 4 slices → data 8, fsdp 8

    Axis types are `Auto`, so that linen's logical constraints are hints to the partitioner and not assertions.

    Raises:
        ValueError: the sizes do not multiply to the number of devices of a slice.
    """
    devices = jax.devices() if devices is None else list(devices)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    count = len(devices) // slices
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor, "sequence": sequence}
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"mesh {sizes}: sizes are positive and at most one is -1 (the rest of the devices).")
    fixed = int(np.prod([size for size in sizes.values() if size != -1]))
    if free:
        sizes[free[0]] = count // fixed
    if int(np.prod(list(sizes.values()))) != count:
        raise ValueError(
            f"mesh {sizes} for {count} devices{' a slice' if slices > 1 else ''}: the sizes must multiply to {count}; "
            f"leave one of them at -1 and choose the others among its divisors."
        )
    # JAX lays them out: on a TPU neighbours in the mesh are then neighbours in the torus.
    shape = tuple(sizes[name] for name in AXES)
    if slices == 1:
        return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))
    between = (slices,) + (1,) * (len(AXES) - 1)
    grid = mesh_utils.create_hybrid_device_mesh(shape, between, devices=devices)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
