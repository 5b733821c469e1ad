"""T5 v1.1 encoder in Flax: piece ids in, one contextual embedding for each piece out.

Shape-compatible with the published checkpoints (T5-XL is what VideoPoet uses): RMSNorm without mean or bias, gated
GELU, no biases, queries not scaled by 1/sqrt(e), relative-position buckets learnt once and shared by all layers.
There is no dropout: the encoder is frozen wherever it is used, and nano's own is too small to need any.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from videopoet_jax.layers.norms import RMSNorm
from videopoet_jax.parallel.axes import constrain, partitioned


def relative_buckets(length: int, *, buckets: int, max_distance: int) -> Int[np.ndarray, "l l"]:
    """Bucket of (query row, key column): half the buckets look back, half ahead; near ones exact, far ones logarithmic.

    With 32 buckets and max_distance 128:
        key − query   −128  −9  −8  −7  −1   0   1   7   8   9  128
        bucket          15   8   8   7   1   0  17  23  24  24   31
    """
    relative = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = buckets // 2
    exact = half // 2
    distance = np.abs(relative)
    # float32 throughout, as in T5: a wider float would move the edges of two or three buckets.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        np.log(max_distance / exact)
    )
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int32), half - 1)
    return (np.where(distance < exact, distance, far) + half * (relative > 0)).astype(np.int32)


def attend(
    query: Float[Array, "b n m e"],
    key: Float[Array, "b l m e"],
    value: Float[Array, "b l m e"],
    bias: Float[Array, "m n l"],
    mask: Bool[Array, "b l"],
) -> Float[Array, "b n m e"]:
    """Softmax attention with an additive position bias; keys whose mask is False get exactly no weight.

    A row whose keys are all masked averages them instead of dividing by zero: no NaN from an empty condition.
    """
    scores = jnp.einsum("bnme,blme->bmnl", query, key, preferred_element_type=jnp.float32) + bias.astype(jnp.float32)
    scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bmnl,blme->bnme", weights, value)


class SelfAttention(nn.Module):
    """Query, key, value and output projections around `attend`."""

    heads: int
    head_width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l d"], bias: Float[Array, "m l l"], mask: Bool[Array, "b l"]
    ) -> Float[Array, "b l d"]:
        width = x.shape[-1]

        def project(name: str, std: float) -> Float[Array, "b l m e"]:
            init = partitioned(nn.initializers.normal(std), "embed", "heads", "kv")
            kernel = self.param(name, init, (width, self.heads, self.head_width), jnp.float32)
            return constrain(jnp.einsum("bld,dme->blme", x, kernel.astype(x.dtype)), "batch", "length", "heads", "kv")

        # T5 folds 1/sqrt(e) into the start of the query kernel rather than scaling the scores.
        mixed = attend(
            project("query", (width * self.head_width) ** -0.5),
            project("key", width**-0.5),
            project("value", width**-0.5),
            bias,
            mask,
        )
        init = partitioned(nn.initializers.normal((self.heads * self.head_width) ** -0.5), "heads", "kv", "embed")
        kernel = self.param("out", init, (self.heads, self.head_width, width), jnp.float32)
        return jnp.einsum("blme,med->bld", mixed, kernel.astype(x.dtype))


class GatedMLP(nn.Module):
    """gelu(x · gate) · (x · up), projected down; the tanh form of GELU, as T5 v1.1 was trained with."""

    mlp_width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        width = x.shape[-1]
        inward = partitioned(nn.initializers.normal(width**-0.5), "embed", "mlp")
        outward = partitioned(nn.initializers.normal(self.mlp_width**-0.5), "mlp", "embed")
        gate = self.param("gate", inward, (width, self.mlp_width), jnp.float32)
        up = self.param("up", inward, (width, self.mlp_width), jnp.float32)
        down = self.param("down", outward, (self.mlp_width, width), jnp.float32)
        hidden = jax.nn.gelu(x @ gate.astype(x.dtype), approximate=True) * (x @ up.astype(x.dtype))
        return constrain(hidden, "batch", "length", "mlp") @ down.astype(x.dtype)


class Block(nn.Module):
    """Pre-norm attention, pre-norm MLP. Returns (x, None): the carry and empty output that nn.scan asks for."""

    heads: int
    head_width: int
    mlp_width: int
    epsilon: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l d"], bias: Float[Array, "m l l"], mask: Bool[Array, "b l"]
    ) -> tuple[Float[Array, "b l d"], None]:
        attention = SelfAttention(self.heads, self.head_width, name="attention")
        x = x + attention(RMSNorm(self.epsilon, name="attention_norm")(x), bias, mask)
        x = x + GatedMLP(self.mlp_width, name="mlp")(RMSNorm(self.epsilon, name="mlp_norm")(x))
        return constrain(x, "batch", "length", "activation_embed"), None


class T5Encoder(nn.Module):
    """Embedding, `depth` scanned blocks, final norm. Positions after the mask's end hold numbers without meaning."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    head_width: int
    mlp_width: int
    buckets: int
    max_distance: int
    epsilon: float
    dtype: str  # of the computation; parameters are float32 where they are trained

    @nn.compact
    def __call__(self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"]) -> Float[Array, "b l d"]:
        embedding = self.param(
            "embedding",
            partitioned(nn.initializers.normal(1.0), "vocab", "embed"),
            (self.vocabulary, self.width),
            jnp.float32,
        )
        # Not in the paper; ours: T5 starts this table at 1/sqrt(d), and nano would then spend most of its training on
        # growing it until heads can tell neighbours apart. 3 needs 400 steps for what T5's start needed 1,500.
        table = self.param(
            "relative_bias",
            partitioned(nn.initializers.normal(3.0), "relpos_buckets", "heads"),
            (self.buckets, self.heads),
            jnp.float32,
        )
        buckets = relative_buckets(ids.shape[1], buckets=self.buckets, max_distance=self.max_distance)
        bias = jnp.transpose(table[buckets], (2, 0, 1))
        # An id beyond the table would be clamped to its last row in silence; "fill" turns it into NaN.
        x = jnp.take(embedding, ids, axis=0, mode="fill").astype(self.dtype)
        x = constrain(x, "batch", "length", "activation_embed")
        layers = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=self.depth,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(self.heads, self.head_width, self.mlp_width, self.epsilon, name="layers")
        x, _ = layers(x, bias, mask)
        return RMSNorm(self.epsilon, name="final_norm")(x)
