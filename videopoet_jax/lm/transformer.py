"""The language model: a decoder-only transformer, bidirectional over the prefix and causal over the output.

One forward path serves training (whole sequence, no cache), prefill (the prefix, cache written) and decoding (one
token, cache read). Pre-RMSNorm, gated feed-forward, grouped queries, no biases. The paper gives the sizes 300 M, 1 B
and 8 B and nothing of the inside: ours. What differs between families of text language models is a field: queries and
keys normalised or not, rotary angles by (t, h, w) or by the place in the sequence, SiLU or GELU, the scale of
embeddings. `weights` starts from such a model.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from videopoet_jax.layers.attention import Attention, Cache, empty_cache
from videopoet_jax.layers.masks import Visible, prefix_visible
from videopoet_jax.layers.mlp import ACTIVATIONS, RESIDUALS, GatedMLP
from videopoet_jax.layers.norms import RMSNorm
from videopoet_jax.layers.positions import PositionEmbedding, rotary_angles, shift_left
from videopoet_jax.lm.tables import InputTables, OutputTables
from videopoet_jax.parallel.axes import constrain
from videopoet_jax.sequence.layout import MODALITIES
from videopoet_jax.sequence.vocabulary import TEXT_EMBEDDING, Vocabulary

# Stacked examples of `sequence.assemble`, or rows of several of them: `data/packing.py` says what differs.
Batch = Mapping[str, Array | np.ndarray]

# What the backward pass keeps of a layer; the rest is computed again.
REMAT = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keeps the products with weights
    "mlp": jax.checkpoint_policies.save_only_these_names(RESIDUALS),  # keeps the feed-forward's wide products
    "full": jax.checkpoint_policies.nothing_saveable,  # keeps the layer's input alone
}


@flax.struct.dataclass
class Tokens:
    """A stretch of sequence as the model reads it.

    Attributes:
        positions: (t, h, w, modality); `next_positions` are those of the tokens to predict.
        visible: which of the first positions of the sequence each of these may see.
        text: embeddings of the whole text, or of all texts of a row.
        text_index: where in it a text slot finds its own; 0 elsewhere.
    """

    ids: Int[Array, "b n"]
    table: Int[Array, "b n"]
    positions: Int[Array, "b n 4"]
    next_positions: Int[Array, "b n 4"]
    visible: Visible
    text: Float[Array, "b l c"]
    text_index: Int[Array, "b n"]


def segments(batch: Batch) -> Int[Array, "b n"]:
    """Which sequence of its row a position is of, from 1 on; 0 is padding behind several. Alone, a row is all 1."""
    return jnp.broadcast_to(jnp.asarray(batch.get("segment", 1)), batch["ids"].shape)


def text_index(batch: Batch, slots: int) -> Int[Array, "b n"]:
    """Where each text slot finds its own among the texts of its row, `slots` each, one for each sequence: by its t."""
    own = jnp.asarray(batch["positions"])[..., 0] + slots * (segments(batch) - 1)
    return jnp.where(jnp.asarray(batch["table"]) == TEXT_EMBEDDING, own, 0)


def text_valid(batch: Batch, text_mask: Bool[Array, "b *s l"]) -> Bool[Array, "b n"]:
    """Positions that may be seen: all but padding; text slots by `text_mask`, which may have been dropped."""
    index, shown = text_index(batch, text_mask.shape[-1]), text_mask.reshape(text_mask.shape[0], -1)
    slots = jnp.asarray(batch["table"]) == TEXT_EMBEDDING
    return jnp.where(slots, jnp.take_along_axis(shown, index, axis=1), batch["valid"])


def whole_sequence(batch: Batch, text: Float[Array, "b *s l c"], text_mask: Bool[Array, "b *s l"]) -> Tokens:
    """The tokens of a training batch. Of `s` sequences that share a row none knows of the others."""
    ids, table, positions, prefix_length = (
        jnp.asarray(batch[name]) for name in ("ids", "table", "positions", "prefix_length")
    )
    (rows, n), segment = ids.shape, segments(batch)
    visible = prefix_visible(prefix_length.reshape(rows, -1), text_valid(batch, text_mask), 0, n, segment)
    ends = (segment != shift_left(segment))[..., None]
    return Tokens(
        ids=ids,
        table=table,
        positions=positions,
        next_positions=jnp.where(ends, positions, shift_left(positions)),
        visible=visible,
        text=text.reshape(rows, -1, text.shape[-1]),
        text_index=text_index(batch, text_mask.shape[-1]),
    )


class Block(nn.Module):
    """One layer; scanned over with the cache and its own number in the carry."""

    config: "PrefixLM"

    @nn.compact
    def __call__(self, carry: Any, angles: Array, visible: Visible, start: Any) -> tuple[Any, None]:
        x, cache, layer = carry
        c = self.config
        deep = (2 * c.depth) ** -0.5  # the residual stream keeps its scale over 2·depth additions
        attention = Attention(c.heads, c.kv_heads, c.head_dim, c.qk_norm, c.epsilon, deep, c.dtype, name="attention")
        y, cache = attention(RMSNorm(c.epsilon, name="attention_norm")(x), angles, visible, cache, layer, start)
        x = constrain(x + y, "batch", "length", "activation_embed")
        y = GatedMLP(c.mlp, c.activation, deep, c.dtype, name="mlp")(RMSNorm(c.epsilon, name="mlp_norm")(x))
        x = constrain(x + y, "batch", "length", "activation_embed")
        return (x, cache, layer + 1), None


class PrefixLM(nn.Module):
    """The whole model up to the hidden states; `logits.py` turns them into logits table by table.

    Attributes:
        visual_codes, audio_levels, text_pieces: the vocabulary.
        visual_factors: k of the factorised visual tables (1: a row for each code).
        chain_hidden: width inside the chain between factors.
        text_dim: channels of the text encoder's embeddings.
        depth, width, heads, kv_heads, head_dim, mlp: the transformer.
        qk_norm: whether queries and keys are normalised.
        activation: of the feed-forward, "silu" or "gelu_tanh".
        embedding_scale: what embeddings are multiplied with.
        place_embedding: whether modality and the next token's place are added to the embeddings.
        modalities: rows of the modality embedding.
        rotary_sections: channels of a head turned by t, h, w; together `head_dim`. A single section is turned by the
            place in the sequence, as in text language models.
        rotary_bases: slowest wavelength of each, over 2π.
        rotary_stretch: (factor, low, high, length) of `positions.stretched`, or ().
        place_octaves: Fourier octaves of the next token's t, h, w.
        epsilon: of the norms.
        unroll: layers in one turn of the scan; the parameters are the same for all values.
        remat: a key of `REMAT`.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    visual_codes: int
    audio_levels: int
    text_pieces: int
    visual_factors: int
    chain_hidden: int
    text_dim: int
    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    qk_norm: bool
    activation: str
    embedding_scale: float
    place_embedding: bool
    modalities: int
    rotary_sections: tuple[int, ...]
    rotary_bases: tuple[float, ...]
    rotary_stretch: tuple[float, ...]
    place_octaves: tuple[int, ...]
    epsilon: float
    unroll: int
    remat: str
    dtype: str

    def __post_init__(self):
        super().__post_init__()
        if sum(self.rotary_sections) != self.head_dim or any(s % 2 for s in self.rotary_sections):
            raise ValueError(
                f"rotary_sections {self.rotary_sections}: need even sizes that sum to head_dim {self.head_dim}."
            )
        if len(self.rotary_sections) not in (1, 3) or len(self.rotary_bases) != len(self.rotary_sections):
            raise ValueError(
                f"rotary_sections {self.rotary_sections}, rotary_bases {self.rotary_bases}: need as many of both, 3 "
                f"(t, h, w) or 1 (the place in the sequence)."
            )
        if len(self.rotary_stretch) not in (0, 4):
            raise ValueError(f"rotary_stretch {self.rotary_stretch}: need (factor, low, high, length), or ().")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}: unknown; use one of {', '.join(ACTIVATIONS)}.")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads}: must divide the {self.heads} heads; choose a divisor.")
        if self.modalities < len(MODALITIES):
            raise ValueError(f"modalities {self.modalities}: sequences have {len(MODALITIES)}; give at least as many.")
        if self.remat not in REMAT:
            raise ValueError(f"remat {self.remat!r}: unknown; use one of {', '.join(REMAT)}.")

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.visual_codes, self.audio_levels, self.text_pieces)

    @nn.compact
    def __call__(
        self, tokens: Tokens, cache: Cache | None = None, start: int | Int[Array, ""] = 0
    ) -> tuple[Float[Array, "b n d"], Cache | None]:
        """Hidden states, each scoring the token *after* its own, and the cache with these tokens written at `start`."""
        tables = InputTables(self.vocabulary, self.visual_factors, self.width, self.dtype, name="input")
        x = tables(tokens.ids, tokens.table, tokens.text_index, tokens.text)
        if self.place_embedding:
            place = PositionEmbedding(self.width, self.modalities, self.place_octaves, self.dtype, name="positions")
            x = x + place(tokens.positions, tokens.next_positions)
        x = constrain(x * jnp.asarray(self.embedding_scale, x.dtype), "batch", "length", "activation_embed")
        places = tokens.positions[..., :3]
        if len(self.rotary_sections) == 1:
            index = jnp.asarray(start) + jnp.arange(places.shape[1])
            places = jnp.broadcast_to(index[None, :, None], (*places.shape[:2], 1))
        angles = rotary_angles(places, self.rotary_sections, self.rotary_bases, self.rotary_stretch)
        block = Block
        if REMAT[self.remat] is not None:
            block = nn.remat(Block, policy=REMAT[self.remat], prevent_cse=False)
        layers = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.depth,
            unroll=self.unroll,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(self.clone(parent=None), name="layers")
        (x, cache, _), _ = layers((x, cache, jnp.int32(0)), angles, tokens.visible, start)
        x = RMSNorm(self.epsilon, name="norm")(x)
        output = OutputTables(
            self.vocabulary, self.visual_factors, self.width, self.chain_hidden, self.epsilon, self.dtype, name="output"
        )
        if self.is_initializing():
            output()
        return x, cache

    def make_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for `batch` rows of `length` positions."""
        return empty_cache(self.depth, batch, length, self.kv_heads, self.head_dim, self.dtype)
