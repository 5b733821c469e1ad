"""Pictures to another size between neighbours, in PyTorch's two conventions of `interpolate(mode="bilinear")`.

    0 10, to 4     aligned: the ends meet the ends           →  0  3.33  6.67  10
                   not aligned: centres of pixels keep still →  0  2.5   7.5   10

Nothing is smoothed before a picture gets smaller. RAFT-small and DPT were trained with these, and not with what
`jax.image.resize` offers.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bilinear(x: Float[Array, "b h w c"], height: int, width: int, *, aligned: bool) -> Float[Array, "b h2 w2 c"]:
    """One side after the other."""
    return _stretch(_stretch(x, 1, height, aligned), 2, width, aligned)


def _stretch(x: Array, axis: int, new: int, aligned: bool) -> Array:
    old = x.shape[axis]
    if old == new:
        return x
    centres = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    place = np.linspace(0, old - 1, new) if aligned else centres
    before = np.floor(place).astype(np.int32)
    weight = (place - before).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    low, high = (jnp.take(x, np.minimum(i, old - 1), axis=axis) for i in (before, before + 1))
    return (low + (high - low) * weight).astype(x.dtype)
