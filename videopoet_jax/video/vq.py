"""Vector quantization (van den Oord et al. 2017), as MAGVIT's first tokenizer has it: the nearest of a learned table.

    table 0: [0 0], 1: [4 0], z = [3 1]  →  squared distances 10, 2  →  index 1, codes [4 0]

The table learns by gradient: its entries are pulled to the latents that chose them, the latents to their entries, and
the entropy of the soft assignment p(c|z) ∝ exp(−τ‖z − c‖²) keeps all entries in use.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.video.lfq import Entropy

EXACT = jax.lax.Precision.HIGHEST  # a distance rounded to bfloat16 names another entry


def distances(z: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Float[Array, "*n v"]:
    """Squared, of every latent to every entry."""
    products = jnp.einsum("...d,vd->...v", z, table, precision=EXACT)
    return jnp.sum(z**2, -1, keepdims=True) - 2 * products + jnp.sum(table**2, -1)


def indices(z: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Int[Array, "*n"]:
    """The nearest entry, the lowest among equals."""
    return jnp.argmin(distances(z, table), axis=-1).astype(jnp.int32)


def codes(z: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Float[Array, "*n d"]:
    """The nearest entry, with the gradient of the identity in z and none in the table."""
    return z + jax.lax.stop_gradient(table[indices(z, table)] - z)


def commitment(z: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Float[Array, ""]:
    """Mean squared distance of the latents to their entries; pulls the latents."""
    return jnp.mean(jnp.square(z - jax.lax.stop_gradient(table[indices(z, table)])))


def codebook(z: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Float[Array, ""]:
    """The same distance; pulls the entries."""
    return jnp.mean(jnp.square(jax.lax.stop_gradient(z) - table[indices(z, table)]))


def entropy(z: Float[Array, "*n d"], table: Float[Array, "v d"], inverse_temperature: float) -> Entropy:
    """In nats, of the soft assignment over all entries: the mean of the latents' entropies, that of the mean."""
    logits = -inverse_temperature * distances(z, table).reshape(-1, table.shape[0])
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    mean = jnp.mean(p, axis=0)
    alive = mean > 0
    of_mean = -jnp.sum(jnp.where(alive, mean * jnp.log(jnp.where(alive, mean, 1.0)), 0.0))
    return Entropy(per_sample=-jnp.mean(jnp.sum(p * log_p, axis=-1)), of_mean=of_mean)
