"""Rows of several layouts in one batch are written as each would be alone with its own."""

import functools

import jax
import numpy as np
from numpy.testing import assert_array_equal

from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import generate
from videopoet_jax.lm.decode_rows import generate_rows
from videopoet_jax.sequence.assembly import disassemble
from videopoet_jax.sequence.grid import Grid

GUIDED = Sampling(temperature=0.9, top_k=8, top_p=None, guidance_scale=2.0)
GRIDS = {"text_to_video": Grid(5, 16, 16, 16, 2), "captioning": Grid(1, 16, 32, 16, 1)}
PIECES = 266_496  # the first id of a text


def padded(batch, length):
    """The batch in rows of that length, as a converter pads them: zeros behind."""
    tokens = {"ids", "table", "positions", "weights", "valid"}

    def one(value):
        return np.pad(value, [(0, 0), (0, length - value.shape[1])] + [(0, 0)] * (value.ndim - 2))

    return {name: one(value) if name in tokens else value for name, value in batch.items()}


def test_each_row_is_what_its_own_layout_makes_of_it(make_tiny):
    tiny = make_tiny(text_pieces=20, visual_factors=1)
    layouts = {task: tiny.layout(task, grid) for task, grid in GRIDS.items()}
    batches = {task: tiny.with_text(tiny.batch(layout, 2)) for task, layout in layouts.items()}
    keys = jax.random.split(jax.random.key(4), 4)
    clips, texts = (
        np.asarray(generate(tiny.model, tiny.params, batches[task], layouts[task], own, GUIDED))
        for task, own in (("text_to_video", keys[:2]), ("captioning", keys[2:]))
    )
    rows = [padded(batch, clips.shape[1] + 3) for batch in batches.values()]
    together = {name: np.concatenate([batch[name] for batch in rows]) for name in rows[0]}
    write = jax.jit(functools.partial(generate_rows, tiny.model, sampling=GUIDED))
    ids = np.asarray(write(tiny.params, together, keys))
    assert_array_equal(ids[:2, :-3], clips)
    assert not ids[:2, -3:].any()
    disassemble(layouts["text_to_video"], ids[:2, :-3])  # raises where an id is not legal

    # A text is written as far as the batch's goes.
    layout, given = layouts["captioning"], together["ids"][2:]
    pieces = (together["weights"][2:] > 0) & (given >= PIECES)
    first = layout.prefix_length + 2
    assert_array_equal(ids[2:, :first], texts[:, :first])
    assert_array_equal(ids[2:][~pieces], given[~pieces])
    assert np.all((ids[2:][pieces] >= PIECES) & (ids[2:][pieces] < PIECES + 20))

    # Of the codes that stand in the output only the kind is read.
    codes = (together["weights"] > 0) & (together["table"] != 0)
    others = {**together, "ids": np.where(codes, together["ids"] ^ 1, together["ids"])}  # of the same level
    assert_array_equal(write(tiny.params, others, keys), ids)
