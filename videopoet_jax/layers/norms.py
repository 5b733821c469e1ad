"""Root-mean-square normalisation, in float32 whatever the compute dtype."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from videopoet_jax.parallel.axes import partitioned


def rms_norm(x: Float[Array, "*n d"], scale: Float[Array, " d"], epsilon: float) -> Float[Array, "*n d"]:
    """`x / sqrt(mean(x²) + ε) · scale`, in the dtype of `x`."""
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + epsilon)
    return (y * scale.astype(jnp.float32)).astype(x.dtype)


class RMSNorm(nn.Module):
    """Owns the scale of `rms_norm`."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        scale = self.param("scale", partitioned(nn.initializers.ones, "norm"), (x.shape[-1],), jnp.float32)
        return rms_norm(x, scale, self.epsilon)
