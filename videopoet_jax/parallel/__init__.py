"""In: devices and logical axis names → Out: a mesh, and where every array lies on it.

`axes` names the axes and holds the one table of rules, `mesh` lays the devices out, `shardings` joins the two.
"""

from videopoet_jax.parallel.axes import RULES, constrain, partitioned
from videopoet_jax.parallel.mesh import make_mesh
from videopoet_jax.parallel.shardings import (
    abstract,
    batch_sharding,
    check_fits,
    initialize,
    param_shardings,
    place,
    replicated,
    spread,
)

__all__ = [
    "RULES",
    "abstract",
    "batch_sharding",
    "check_fits",
    "constrain",
    "initialize",
    "make_mesh",
    "param_shardings",
    "partitioned",
    "place",
    "replicated",
    "spread",
]
