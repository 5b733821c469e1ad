"""Who may look at whom."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int


def prefix_mask(
    prefix_length: Int[Array, " b #i"], valid: Bool[Array, "b j"], start: int | Int[Array, ""], queries: int
) -> Bool[Array, "b i j"]:
    """Rows `start … start + queries` of a prefix language model's mask: all see the prefix, the output is causal.

    Each of these positions may have a prefix length of its own.

    prefix 2 of 4, start 0, 4 queries      invalid position 1
        1 1 0 0                            1 0 0 0
        1 1 0 0                            1 0 0 0
        1 1 1 0                            1 0 1 0
        1 1 1 1                            1 0 1 1
    """
    i = jnp.asarray(start) + jnp.arange(queries)
    j = jnp.arange(valid.shape[1])
    horizon = jnp.maximum(prefix_length, i[None, :] + 1)
    return (j[None, None, :] < horizon[:, :, None]) & valid[:, None, :]


def same_sequence(segment: Int[Array, "b n"]) -> Bool[Array, "b n n"]:
    """Who shares a sequence, of several in a row: `1 1 2 → [[1 1 0] [1 1 0] [0 0 1]]`"""
    return segment[:, :, None] == segment[:, None, :]
