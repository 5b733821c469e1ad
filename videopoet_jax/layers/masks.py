"""Who may look at whom, without the table of `n²` answers."""

from typing import Any

import flax.struct
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

NOBODY = -1  # the sequence of a key that no query may see


@flax.struct.dataclass
class Visible:
    """Query `i` sees key `j` where `j < horizon_i` and both are of one sequence.

    Attributes:
        horizon: how far each query looks: its own position, or its prefix's end if that is later.
        of_query: the sequence of each query, of several in a row.
        of_key: that of each key; `NOBODY` where none may see it.
    """

    horizon: Any  # Int[Array, "b i"]; the fields are untyped because the same tree also holds shapes and shardings
    of_query: Any  # Int[Array, "b i"]
    of_key: Any  # Int[Array, "b j"]

    def dense(self) -> Bool[Array, "b i j"]:
        """The table itself: `horizon 2 2 3, all of one sequence → [[1 1 0] [1 1 0] [1 1 1]]`"""
        j = jnp.arange(self.of_key.shape[1])
        same = self.of_query[:, :, None] == self.of_key[:, None, :]
        return (j < self.horizon[:, :, None]) & same


def prefix_visible(
    prefix_length: Int[Array, " b #i"],
    valid: Bool[Array, "b j"],
    start: int | Int[Array, ""],
    queries: int,
    segment: Int[Array, "b j"] | None = None,
) -> Visible:
    """Positions `start … start + queries` of prefix language models: all see the prefix, the output is causal.

    Each of these positions may have a prefix length of its own.

    prefix 2 of 4, start 0, 4 queries      invalid position 1
        1 1 0 0                            1 0 0 0
        1 1 0 0                            1 0 0 0
        1 1 1 0                            1 0 1 0
        1 1 1 1                            1 0 1 1

    Args:
        segment: which sequence of its row a position is of, where several share one and `start` is 0.
    """
    i = jnp.asarray(start) + jnp.arange(queries)
    horizon = jnp.maximum(prefix_length, i[None, :] + 1).astype(jnp.int32)
    horizon = jnp.broadcast_to(horizon, (valid.shape[0], queries))
    if segment is None:
        return Visible(horizon, jnp.zeros_like(horizon), jnp.where(valid, 0, NOBODY).astype(jnp.int32))
    return Visible(horizon, segment.astype(jnp.int32), jnp.where(valid, segment, NOBODY).astype(jnp.int32))
