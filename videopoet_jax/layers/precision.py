"""The dtype that a model computes in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videopoet_jax.pretrained import is_table
from videopoet_jax.pretrained.tensors import Tensor


def compute_dtype(name: str | None = None) -> str:
    """`name`, or what suits the machine: float32 on a CPU, which is slow at anything else, bfloat16 on accelerators."""
    return name or ("float32" if jax.default_backend() == "cpu" else "bfloat16")


def products_in(dtype: Any) -> AbstractContextManager:
    """Where float32 is computed in, so are its products: by default a TPU rounds their operands to bfloat16, a GPU to
    TF32, and codes that lie near a border would not be those of another machine."""
    return jax.default_matmul_precision("float32") if jnp.dtype(dtype) == jnp.float32 else nullcontext()


def cast_network(params: Any, dtype: Any) -> Any:
    """Parameters in the dtype of compute; a table of codes as it is, so that every use of it names the same codes."""

    def one(path: tuple, leaf: jax.Array | np.ndarray | Tensor) -> jax.Array:
        return jnp.asarray(leaf, None if is_table(getattr(entry, "key", "") for entry in path) else dtype)

    return jax.tree_util.tree_map_with_path(one, params)
