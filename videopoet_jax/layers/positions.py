"""Positions (t, h, w): rotary angles for attention, and where the next token goes.

A token's own position turns its queries and keys; the position and modality of the token that it must *predict* are
added to its embedding, as in RAR (Yu et al., 2024), so the model never has to count. Not in the paper, which gives no
positions: ours.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.parallel.axes import constrain, partitioned


def rotary_angles(
    positions: Int[Array, "b n axes"],
    sections: tuple[int, ...],
    bases: tuple[float, ...],
    stretch: tuple[float, ...] = (),
) -> Float[Array, "b n half"]:
    """The angle of each pair of channels: `sections` (t, h, w) channels of the head, each with its own base.

    sections (4, 2, 2), bases (100, 10, 10), at t=3 h=1 w=2 → angles `3·1, 3·0.1, 1·1, 2·1`
    sections (8,), bases (100,), at place 3 of a sequence   → angles `3·1, 3·0.32, 3·0.1, 3·0.032`

    Args:
        stretch: of `stretched`; empty for none.
    """
    angles = []
    for axis, (channels, base) in enumerate(zip(sections, bases, strict=True)):
        frequencies = base ** (-jnp.arange(channels // 2, dtype=jnp.float32) / (channels // 2))
        frequencies = stretched(frequencies, *stretch) if stretch else frequencies
        angles.append(positions[..., axis, None].astype(jnp.float32) * frequencies)
    return jnp.concatenate(angles, axis=-1)


def stretched(
    frequencies: Float[Array, " half"], factor: float, low: float, high: float, length: float
) -> Float[Array, " half"]:
    """Frequencies as Llama 3.1 slows them down to reach beyond the `length` it was first trained at.

    Those that turn less than `low` times within it become `factor` times slower, those that turn more than `high` times
    stay; between the two, by degrees.
    """
    turns = length * frequencies / (2 * jnp.pi)
    kept = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1 - kept) / factor)


def rotate(x: Float[Array, "b n m e"], angles: Float[Array, "b n half"]) -> Float[Array, "b n m e"]:
    """Channel pairs (i, i + e/2) turned by `angles`, in float32; inner products then depend on distances alone."""
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


def fourier_features(positions: Int[Array, "b n 3"], octaves: tuple[int, ...]) -> Float[Array, "b n c"]:
    """Sines and cosines of (t, h, w) with periods 4, 8, 16, …: `octaves` of them for each axis.

    octaves (1, 0, 0), t = 1 → `sin(2π/4), cos(2π/4) = 1, 0`
    """
    features = []
    for axis, count in enumerate(octaves):
        frequencies = 2 * jnp.pi / (4.0 * 2.0 ** jnp.arange(count))
        angles = positions[..., axis, None].astype(jnp.float32) * frequencies
        features += [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(features, axis=-1)


def shift_left(positions: Int[Array, "b n *c"]) -> Int[Array, "b n *c"]:
    """Each token's next position; the last keeps its own: `p0 p1 p2 → p1 p2 p2`."""
    return jnp.concatenate([positions[:, 1:], positions[:, -1:]], axis=1)


class PositionEmbedding(nn.Module):
    """What is added to a token's embedding: its modality, the next token's modality, the next token's place.

    Attributes:
        width: of the embeddings.
        modalities: rows of the modality tables.
        octaves: Fourier octaves of (t, h, w).
        dtype: of the computation.
    """

    width: int
    modalities: int
    octaves: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, positions: Int[Array, "b n 4"], next_positions: Int[Array, "b n 4"]) -> Float[Array, "b n d"]:
        small = nn.initializers.normal(0.02)
        shape = (self.modalities, self.width)
        own = self.param("modality", partitioned(small, "position", "embed"), shape, jnp.float32)
        following = self.param("next_modality", partitioned(small, "position", "embed"), shape, jnp.float32)
        features = fourier_features(next_positions[..., :3], self.octaves)
        shape = (features.shape[-1], self.width)
        kernel = self.param("next_place", partitioned(small, "position", "embed"), shape, jnp.float32)
        # One-hot products: their gradient is a matrix product too, where that of a gather is a slow scatter.
        rows = jnp.arange(self.modalities)
        one_hots = [(p[..., 3, None] == rows).astype(jnp.float32) for p in (positions, next_positions)]
        x = jnp.concatenate([*one_hots, features], axis=-1).astype(self.dtype)
        table = jnp.concatenate([own, following, kernel], axis=0).astype(self.dtype)
        return constrain(jnp.einsum("bnc,cd->bnd", x, table), "batch", "length", "activation_embed")
