"""Embedding and output tables: special+text | visual | audio, separate for reading and for writing.

A position's table is known from the layout, so a token is looked up in one table and scored against one.

The visual table may be factorised: a code of 18 bits is k = 2 numbers of 9 bits, high bits first. Read, their
embeddings are summed. Written, they are *chained*: factor j's logits come from the hidden state and from the factors
before it, so the joint p(code) = Π p(factor j | factors < j) is exact and sums to one over all codes. MAGVIT-v2's two
heads are independent, which cannot express most joints. Not in the paper; ours.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.layers.mlp import GatedMLP
from videopoet_jax.layers.norms import RMSNorm
from videopoet_jax.parallel.axes import constrain, partitioned
from videopoet_jax.sequence.vocabulary import (
    AUDIO,
    AUDIO_OFFSET,
    SPECIAL_TEXT,
    TEXT_EMBEDDING,
    TEXT_OFFSET,
    VISUAL,
    VISUAL_OFFSET,
    Vocabulary,
    padded,
)

_SMALL = nn.initializers.normal(0.02)


def factor_codes(vocabulary_size: int, factors: int) -> int:
    """Values of one factor: `2^18, 2 → 512`.

    Raises:
        ValueError: the codebook is no k-th power.
    """
    codes = round(vocabulary_size ** (1 / factors))
    if codes**factors != vocabulary_size:
        raise ValueError(f"{vocabulary_size} visual codes in {factors} factors: need codes^factors; choose a divisor.")
    return codes


def split_factors(codes: Int[Array, "*n"], codes_each: int, factors: int) -> Int[Array, "*n factors"]:
    """Codes → factors, high first: `split_factors(5, 4, 2) → 1 1`."""
    return codes[..., None] // codes_each ** jnp.arange(factors - 1, -1, -1) % codes_each


def join_factors(parts: Int[Array, "*n factors"], codes_each: int) -> Int[Array, "*n"]:
    """Factors → codes: `1 1 → 5` with 4 values each."""
    factors = parts.shape[-1]
    return jnp.sum(parts * codes_each ** jnp.arange(factors - 1, -1, -1), axis=-1)


def special_text_rows(ids: Int[Array, "*n"]) -> Int[Array, "*n"]:
    """Rows of the special+text table: `5 → 5, 266496 → 256`; other ids give rows out of range."""
    return jnp.where(ids < VISUAL_OFFSET, ids, ids - TEXT_OFFSET + VISUAL_OFFSET)


def _table_params(module: nn.Module) -> dict[str, Array]:
    """The three tables as parameters of `module`; a vocabulary without sound has two."""
    vocabulary, width, factors = module.vocabulary, module.width, module.visual_factors
    each = padded(factor_codes(vocabulary.visual_codes, factors))
    shapes = {"special_text": (padded(vocabulary.special_text_rows), width), "visual": (factors, each, width)}
    if vocabulary.audio_levels:
        shapes["audio"] = (padded(vocabulary.audio_rows), width)
    names = {2: ("vocab", "embed"), 3: ("factor", "vocab", "embed")}
    return {
        name: module.param(name, partitioned(_SMALL, *names[len(shape)]), shape, jnp.float32)
        for name, shape in shapes.items()
    }


class InputTables(nn.Module):
    """Owns the embeddings that tokens are read with, and the projection of text embeddings.

    Attributes:
        vocabulary: which ids there are.
        visual_factors: k; 1 is one row for each code.
        width: of the embeddings.
        dtype: of the computation.
    """

    vocabulary: Vocabulary
    visual_factors: int
    width: int
    dtype: str

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b n"],
        table: Int[Array, "b n"],
        text_index: Int[Array, "b n"],
        text: Float[Array, "b l text_dim"],
    ) -> Float[Array, "b n d"]:
        """Each position's embedding from its own table; where the table is 3, `text[text_index]` projected.

        Elsewhere `text_index` is any that there is.
        """
        each = factor_codes(self.vocabulary.visual_codes, self.visual_factors)
        tables = _table_params(self)
        kernel_init = partitioned(nn.initializers.variance_scaling(1.0, "fan_in", "normal"), None, "embed")
        kernel = self.param("text_projection", kernel_init, (text.shape[-1], self.width), jnp.float32)

        def rows(index: Array, which: int, rows_of: Array) -> Array:
            # Clipped: a `<pad>` that stands where a code will be written must not bring NaN ("fill") into the sequence.
            # Cast after, so that slopes add up in float32: in bfloat16 a sum of ones ends at 256.
            return jnp.take(rows_of, jnp.where(table == which, index, 0), axis=0, mode="clip").astype(self.dtype)

        factors = split_factors(ids - VISUAL_OFFSET, each, self.visual_factors)
        visual = sum(rows(factors[..., j], VISUAL, tables["visual"][j]) for j in range(self.visual_factors))
        audio = rows(ids - AUDIO_OFFSET, AUDIO, tables["audio"]) if "audio" in tables else 0.0
        special = rows(special_text_rows(ids), SPECIAL_TEXT, tables["special_text"])
        slots = jnp.einsum("blc,cd->bld", text.astype(self.dtype), kernel.astype(self.dtype))
        from_text = jnp.take_along_axis(slots, text_index[..., None], axis=1)
        kinds = {SPECIAL_TEXT: special, VISUAL: visual, AUDIO: audio, TEXT_EMBEDDING: from_text}
        x = sum(jnp.where((table == kind)[..., None], value, 0.0) for kind, value in kinds.items())
        return constrain(x.astype(self.dtype), "batch", "length", "activation_embed")


class OutputTables(nn.Module):
    """Owns the tables that tokens are scored against, and the chain between visual factors.

    Attributes:
        vocabulary, visual_factors, width, dtype: as `InputTables`.
        chain_hidden: width inside the chain's SwiGLU.
        epsilon: of its norm.
    """

    vocabulary: Vocabulary
    visual_factors: int
    width: int
    chain_hidden: int
    epsilon: float
    dtype: str

    @nn.compact
    def __call__(self) -> None:
        """Creates the parameters; the functions of `logits.py` use them."""
        each = _table_params(self)["visual"].shape[1]
        if self.visual_factors > 1:
            factored = partitioned(_SMALL, "factor", "vocab", "embed")
            self.param("chain", factored, (self.visual_factors - 1, each, self.width), jnp.float32)
            one = jnp.zeros((1, 1, self.width), self.dtype)
            chain_mlp = GatedMLP(self.chain_hidden, "silu", 1.0, self.dtype, name="chain_mlp")
            chain_mlp(RMSNorm(self.epsilon, name="chain_norm")(one))
