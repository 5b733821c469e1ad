"""Lookup-free quantization: the code of a latent is the signs of its k channels.

    z = [0.3, -1.2, 0.0, 2.1]  →  bits 1 0 0 1  →  index 1·1 + 0·2 + 0·4 + 1·8 = 9  →  codes +1 -1 -1 +1

The soft assignment p(c|z) ∝ exp(-τ‖z - c‖²) over the 2^k codes is a product over bits, so its entropies are exact at
any k without a [tokens, 2^k] array: a token's entropy is a sum of k bit entropies, and the mean distribution over all
codes is one matrix product of two half-code tables.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

# Not in the paper; ours: tokens whose two tables are alive at once (2 × 4096 × 512 floats = 16 MiB at k = 18).
TOKENS_PER_BLOCK = 4096


class Quantized(NamedTuple):
    """`codes` are ±1 and pass gradients straight through to z; `indices` are Σ 2^i·[z_i > 0]."""

    codes: Float[Array, "*positions k"]
    indices: Int[Array, "*positions"]


class Entropy(NamedTuple):
    """In nats: `per_sample` is E[H(p(c|z))], `of_mean` is H(E[p(c|z)]); LFQ's loss is their difference."""

    per_sample: Float[Array, ""]
    of_mean: Float[Array, ""]


def indices(z: Float[Array, "*positions k"]) -> Int[Array, "*positions"]:
    """Bits are z > 0, so a zero is bit 0; bit i weighs 2^i."""
    return jnp.sum((z > 0).astype(jnp.int32) << jnp.arange(z.shape[-1], dtype=jnp.int32), axis=-1)


def codes_from_indices(index: Int[Array, "*positions"], bits: int) -> Float[Array, "*positions k"]:
    """The ±1 codes of an index: 9 at four bits → +1 -1 -1 +1."""
    ones = (index[..., None] >> jnp.arange(bits, dtype=index.dtype)) & 1
    return (2 * ones - 1).astype(jnp.float32)


def quantize(z: Float[Array, "*positions k"]) -> Quantized:
    """Signs of z, with the gradient of the identity."""
    signs = jnp.where(z > 0, 1.0, -1.0).astype(z.dtype)
    # z - stop_gradient(z) is exactly 0, so the codes are exactly ±1; signs + (z - z) is the straight-through estimator.
    return Quantized(codes=signs + (z - jax.lax.stop_gradient(z)), indices=indices(z))


def commitment(z: Float[Array, "*positions k"]) -> Float[Array, ""]:
    """Mean squared distance of the latents to their own codes."""
    z = z.astype(jnp.float32)
    return jnp.mean(jnp.square(z - jnp.where(z > 0, 1.0, -1.0)))


def bit_balance(z: Float[Array, "*positions k"]) -> dict[str, Array]:
    """How often bits take their rarer side: 0.5 is a fair coin, and the worst bit tells of a dead channel."""
    share = jnp.mean((z > 0).astype(jnp.float32), axis=tuple(range(z.ndim - 1)))
    rarer = jnp.minimum(share, 1 - share)
    return {"bit_balance_worst": jnp.min(rarer), "bit_balance_mean": jnp.mean(rarer)}


def bit_entropy(logit: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Entropy of a bit that is 1 with probability sigmoid(logit), in a form that cancels nowhere in the tails."""
    distance = jnp.abs(logit)
    tail = jnp.exp(-distance)
    return jnp.log1p(tail) + distance * tail / (1 + tail)


def entropy(z: Float[Array, "*positions k"], inverse_temperature: float) -> Entropy:
    """Exact entropies of the soft assignment over all 2^k codes.

    Under jit with z sharded over devices the mean is over the tokens of all devices: nothing but jnp is used.
    """
    # -τ‖z - c‖² differs by 4τz between c = +1 and c = -1.
    logits = (4.0 * inverse_temperature) * z.reshape(-1, z.shape[-1]).astype(jnp.float32)
    per_sample = jnp.mean(jnp.sum(bit_entropy(logits), axis=-1))
    return Entropy(per_sample=per_sample, of_mean=_entropy_of(_mean_distribution(logits)))


def _mean_distribution(logits: Float[Array, "n k"]) -> Float[Array, "high low"]:
    """E[p(c|z)] as a table: row = the upper half of the code's bits, column = the lower half."""
    tokens, bits = logits.shape
    if tokens <= TOKENS_PER_BLOCK:
        return _block_sum(logits, jnp.ones(tokens, jnp.float32)) / tokens
    blocks = -(-tokens // TOKENS_PER_BLOCK)
    length = -(-tokens // blocks)
    weights = (jnp.arange(length * blocks) < tokens).astype(jnp.float32).reshape(length, blocks)
    # Tokens of one block lie `blocks` apart, so that a sharded token axis stays sharded inside every block.
    padded = jnp.pad(logits, ((0, length * blocks - tokens), (0, 0))).reshape(length, blocks, bits)

    def add(total: Array, block: Array) -> tuple[Array, None]:
        return total + _block_sum(padded[:, block], weights[:, block]), None

    zero = jnp.zeros((2 ** (bits - bits // 2), 2 ** (bits // 2)), jnp.float32)
    return jax.lax.scan(add, zero, jnp.arange(blocks))[0] / tokens


@jax.checkpoint
def _block_sum(logits: Float[Array, "n k"], weights: Float[Array, " n"]) -> Float[Array, "high low"]:
    """Σ_n w_n p(c|z_n). Checkpointed: the tables are cheaper to build again than to keep for the backward pass."""
    half = logits.shape[-1] // 2
    low, high = _table(logits[:, :half]), _table(logits[:, half:])
    return jnp.einsum("nh,nl->hl", high * weights[:, None], low, precision="highest")


def _table(logits: Float[Array, "n k"]) -> Float[Array, "n codes"]:
    """Probability of each of the 2^k codes of these bits; a sum of log-sigmoids, none positive, so nothing cancels."""
    bits = logits.shape[-1]
    ones = (jnp.arange(2**bits)[None, :] >> jnp.arange(bits)[:, None]) & 1
    terms = jnp.concatenate([jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)], axis=-1)
    choice = jnp.concatenate([ones, 1 - ones]).astype(jnp.float32)
    return jnp.exp(jnp.matmul(terms, choice, precision="highest"))


def _entropy_of(probabilities: Float[Array, "high low"]) -> Float[Array, ""]:
    """-Σ p log p; codes of probability 0 add nothing, neither to the value nor to the gradient (log p is -inf)."""
    alive = probabilities > 0
    return -jnp.sum(jnp.where(alive, probabilities * jnp.log(jnp.where(alive, probabilities, 1.0)), 0.0))
