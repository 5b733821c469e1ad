"""How many floating-point operations a training step of the language model needs: the numerator of MFU.

Counted are the products of matrices, two operations for a multiplication and an addition, as the model asks for them
and whatever a program makes of it: nothing that is computed again for want of memory, no softmax, no norm, no look-up,
no optimizer, and not the frozen text encoder. A parameter that multiplies a token costs 2 forward and 4 backward, so

    6 · (parameters of the layers) · tokens
  + 6 · (parameters of the table that scores it) for every token that is written
  + 4 · (parameters of the projections of texts and places), whose inputs need no gradient
  + 12 · heads · head_dim · depth for every pair of positions of which one sees the other.

Which pairs these are has two answers. All n² of them is what products of whole matrices compute, and what PaLM's MFU
(Chowdhery et al., 2022, appendix B) counts; those that the prefix mask lets through are what the model needs.

tiny, depth 1, width 8, 2 heads of 4 channels, 1 of keys and values, mlp 16: 64 + 32 + 32 + 64 + 3 · 128 = 576 a layer;
    <bos> <task:video> <bot_i> <text> <eot_i> <source:video> <res:landscape> <duration:1> | <bov_o> v v <eov_o> <eos>
8 tokens of prefix and 5 of output in 2 rows:
    layers     6 · 576 · 13 · 2 = 89,856
    pairs      dense 13² = 169;  exact 8·8 + 9 + 10 + 11 + 12 + 13 = 119
    attention  12 · 2 · 4 · 1 · 119 · 2 = 22,848 exact, 32,448 dense
    tables     2 codes against 256 rows, 3 markers against 256: 6 · (2 + 3) · 256 · 8 · 2 = 122,880
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from videopoet_jax.lm.tables import factor_codes
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.layout import Layout
from videopoet_jax.sequence.vocabulary import AUDIO, SPECIAL_TEXT, VISUAL, padded

FORWARD_BACKWARD = 6  # operations a parameter and a token: 2 forward, 2 for the inputs' gradient, 2 for its own
NO_INPUT_GRADIENT = 4


@dataclasses.dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of a step, forward and backward.

    Attributes:
        layers: the projections around attention, and SwiGLU.
        attention: queries with keys and weights with values, of the pairs that the mask lets through.
        attention_dense: the same of all pairs.
        tables: every written token against its own table, its padding rows too; the chain between visual factors.
        inputs: the projections of text embeddings, and of modalities and places.
    """

    layers: int
    attention: int
    attention_dense: int
    tables: int
    inputs: int

    @property
    def exact(self) -> int:
        """What the model needs."""
        return self.layers + self.attention + self.tables + self.inputs

    @property
    def dense(self) -> int:
        """The same with attention over all pairs."""
        return self.layers + self.attention_dense + self.tables + self.inputs


def layer_params(model: PrefixLM) -> int:
    """Parameters of all layers that multiply every token; norms are not among them."""
    attention = 2 * model.width * model.head_dim * (model.heads + model.kv_heads)
    return model.depth * (attention + 3 * model.width * model.mlp)


def table_params(model: PrefixLM) -> dict[int, int]:
    """Parameters that a written token multiplies, by its table: `{SPECIAL_TEXT: 65_536, VISUAL: …, AUDIO: …}`."""
    factors = model.visual_factors
    visual = factors * padded(factor_codes(model.visual_codes, factors)) + (factors - 1) * 3 * model.chain_hidden
    rows = {SPECIAL_TEXT: padded(model.vocabulary.special_text_rows), VISUAL: visual, AUDIO: AUDIO_CODES}
    return {table: model.width * count for table, count in rows.items()}


def visible_pairs(prefix_length: int, length: int) -> int:
    """Pairs that a prefix mask lets through, padding left aside: `2 of 4 → 2·2 + 3 + 4 = 11`"""
    return prefix_length**2 + (length * (length + 1) - prefix_length * (prefix_length + 1)) // 2


def step_flops(model: PrefixLM, layout: Layout, rows: int) -> StepFlops:
    """Of a step on `rows` sequences of one layout; of a batch that several share, the sum of theirs.

    A group's padding is not the model's, so it does not count; nor does what the chunks of the loss score in vain.
    """
    n, tables = layout.length, table_params(model)
    pair = 12 * model.heads * model.head_dim * model.depth * rows
    written = sum(s.length * tables[s.table] for s in layout.segments if s.output)
    rows_of_places = 2 * model.modalities + 2 * sum(model.place_octaves)
    place = rows_of_places * model.width if model.place_embedding else 0
    return StepFlops(
        layers=FORWARD_BACKWARD * layer_params(model) * n * rows,
        attention=pair * visible_pairs(layout.prefix_length, n),
        attention_dense=pair * n**2,
        tables=FORWARD_BACKWARD * written * rows,
        inputs=NO_INPUT_GRADIENT * (place * n + model.text_dim * model.width * layout.text_length) * rows,
    )


def batch_flops(model: PrefixLM, batch: Mapping[str, np.ndarray]) -> int:
    """The same, `dense`, of rows as they come to the loss (`make_loss`): read from their own places, whatever their
    layouts. An empty text slot counts as padding; in packed rows a sequence's pairs are those of its own tokens."""
    valid, table, written = batch["valid"], batch["table"], batch["weights"] != 0
    tables, tokens = table_params(model), int(valid.sum())
    place = (2 * model.modalities + 2 * sum(model.place_octaves)) * model.width if model.place_embedding else 0
    if "segment" in batch:
        lengths = [np.bincount(row[row > 0]) for row in batch["segment"]]
        pairs = sum(int(np.sum(counts.astype(np.int64) ** 2)) for counts in lengths)
    else:
        pairs = int(np.sum(valid.sum(axis=1, dtype=np.int64) ** 2))
    return (
        FORWARD_BACKWARD * layer_params(model) * tokens
        + 12 * model.heads * model.head_dim * model.depth * pairs
        + FORWARD_BACKWARD * sum(size * int(np.sum(written & (table == t))) for t, size in tables.items())
        + NO_INPUT_GRADIENT * (place * tokens + model.text_dim * model.width * batch["text_ids"].size)
    )
