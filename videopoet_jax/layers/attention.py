"""Multi-head attention with grouped queries, rotary positions and an explicit cache."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.layers.attend import attend, plain
from videopoet_jax.layers.dense import project
from videopoet_jax.layers.masks import Visible
from videopoet_jax.layers.norms import RMSNorm
from videopoet_jax.layers.positions import rotate
from videopoet_jax.parallel.axes import constrain, partitioned


@flax.struct.dataclass
class Cache:
    """Keys and values of all layers: the whole state of a decoder, a plain pytree that jit can donate."""

    keys: Float[Array, "layers b j g e"]
    values: Float[Array, "layers b j g e"]


def empty_cache(layers: int, batch: int, length: int, kv_heads: int, head_dim: int, dtype: str) -> Cache:
    """A cache with room for `length` positions."""
    shape = (layers, batch, length, kv_heads, head_dim)
    names = ("layers", "batch", "length", "heads", "kv")
    # Two arrays, not one twice: a decoder donates both.
    return Cache(*(constrain(jnp.zeros(shape, dtype), *names) for _ in range(2)))


def write(
    cache: Cache, layer: Int[Array, ""], k: Float[Array, "b i g e"], v: Float[Array, "b i g e"], start: Int[Array, ""]
) -> Cache:
    """`cache` with a layer's keys and values at positions start …"""
    at = (layer, 0, start, 0, 0)
    return Cache(
        keys=jax.lax.dynamic_update_slice(cache.keys, k[None], at),
        values=jax.lax.dynamic_update_slice(cache.values, v[None], at),
    )


class Attention(nn.Module):
    """Owns the projections, no biases.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads, a divisor of `heads`; equal to it is plain multi-head attention.
        head_dim: channels of a head.
        qk_norm: whether queries and keys are normalised, each with a gain.
        epsilon: of the norms of queries and keys.
        output_scale: standard deviation of the output projection, relative to 1/√fan-in.
        dtype: of the computation.
    """

    heads: int
    kv_heads: int
    head_dim: int
    qk_norm: bool
    epsilon: float
    output_scale: float
    dtype: str

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b i d"],
        angles: Float[Array, "b i half"],
        visible: Visible,
        cache: Cache | None = None,
        layer: Int[Array, ""] | None = None,
        start: int | Int[Array, ""] = 0,
    ) -> tuple[Float[Array, "b i d"], Cache | None]:
        """`x` attends to itself, or, with a cache, to as many cached positions as `visible` has keys, once its own
        are written."""
        width = x.shape[-1]
        spread = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=(1, 2))
        names = ("embed", "heads", "kv")
        shapes = {"query": self.heads, "key": self.kv_heads, "value": self.kv_heads}
        q, k, v = (
            constrain(project(x, kernel, 1), "batch", "length", "heads", "kv")
            for kernel in (
                self.param(name, partitioned(spread, *names), (width, heads, self.head_dim), jnp.float32)
                for name, heads in shapes.items()
            )
        )
        if self.qk_norm:
            q, k = RMSNorm(self.epsilon, name="query_norm")(q), RMSNorm(self.epsilon, name="key_norm")(k)
        q, k = rotate(q, angles), rotate(k, angles)
        if cache is not None:
            cache = write(cache, layer, k, v, jnp.asarray(start))
            seen = visible.of_key.shape[1]
            k, v = (
                jax.lax.dynamic_index_in_dim(c, layer, keepdims=False)[:, :seen] for c in (cache.keys, cache.values)
            )
        y = attend(q, k, v, visible) if cache is None else plain(q, k, v, visible)
        scale = self.output_scale**2
        collect = nn.initializers.variance_scaling(scale, "fan_in", "normal", in_axis=(0, 1), out_axis=2)
        shape = (self.heads, self.head_dim, width)
        out = self.param("out", partitioned(collect, "heads", "kv", "embed"), shape, jnp.float32)
        return project(y, out, 2), cache
