"""Operations of a step by hand, by the mask, and as XLA counts those of the forward and backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from videopoet_jax.configs.lm import get_config

from videopoet_jax.data.packing import packed_row
from videopoet_jax.layers.masks import prefix_visible
from videopoet_jax.lm.flops import batch_flops, layer_params, step_flops, visible_pairs
from videopoet_jax.lm.heads import heads
from videopoet_jax.lm.totals import token_sums
from videopoet_jax.lm.transformer import PrefixLM, whole_sequence
from videopoet_jax.sequence import TASKS, Grid, layout_for

SMALL = dict(depth=1, width=8, heads=2, kv_heads=1, head_dim=4, mlp=16, rotary_sections=(2, 0, 2))
WIDE = dict(depth=2, width=128, heads=2, kv_heads=1, head_dim=64, mlp=384, rotary_sections=(32, 16, 16),
            chain_hidden=64, unroll=2)  # fmt: skip


def test_the_example_of_the_docstring(tiny):
    model = tiny.model.clone(**SMALL, visual_factors=1, audio_levels=0)
    grid = Grid(frames=1, height=16, width=32, spatial_stride=16, audio_levels=0)
    layout = layout_for(TASKS["text_to_video"], grid, vocabulary=model.vocabulary, text_length=1, source="video")
    assert (layout.prefix_length, layout.length) == (8, 13)
    flops = step_flops(model, layout, 2)
    assert layer_params(model) == 576
    assert (flops.layers, flops.attention, flops.attention_dense) == (89_856, 22_848, 32_448)
    assert flops.tables == 122_880
    assert flops.dense - flops.exact == 32_448 - 22_848


@pytest.mark.parametrize("prefix, length", [(0, 5), (2, 4), (7, 7), (3, 40)])
def test_pairs_are_those_of_the_mask(prefix, length):
    mask = prefix_visible(jnp.array([[prefix]]), jnp.ones((1, length), bool), 0, length).dense()
    assert visible_pairs(prefix, length) == int(mask.sum())


@pytest.mark.parametrize("size", ["nano", "300m", "1b", "8b"])
def test_layers_count_what_the_parameters_are(shapes_of, size):
    model = PrefixLM(**get_config(size).model)
    layers = jax.tree_util.tree_leaves_with_path(shapes_of(model)["layers"])
    matrices = [leaf for path, leaf in layers if "norm" not in str(path)]
    assert layer_params(model) == sum(int(np.prod(leaf.shape)) for leaf in matrices)


GRID = Grid(frames=9, height=64, width=64, spatial_stride=16, audio_levels=2)


def loss_by_segment(tiny, layout, batch):
    """The loss as a function of the parameters: of each segment of the output all logits at once, by its own head."""
    text, text_mask = jnp.asarray(tiny.text_table[batch["text_ids"]]), jnp.asarray(batch["text_mask"])

    def loss(params):
        hidden, _ = tiny.model.apply({"params": params}, whole_sequence(batch, text, text_mask))
        nll = 0.0
        for segment in (s for s in layout.segments if s.output):
            x = hidden[:, segment.start - 1 : segment.stop - 1]
            ids = jnp.asarray(batch["ids"][:, segment.start : segment.stop])
            name = f"audio_{segment.level}" if segment.kind == "audio" else segment.kind
            (head,) = [head for head in heads(tiny.model) if head.name == name]
            nll += jnp.sum(head.score(params["output"], x, head.index(ids)).nll)
        return nll

    return loss


def test_what_xla_counts_below_is_the_loss(tiny):
    layout = tiny.layout("text_to_video", GRID)
    batch = tiny.batch(layout, 2)
    fields = (jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
    sums = token_sums(tiny.model, tiny.params["output"], tiny.hidden(batch), *fields, 64, 0.0)
    loss = jax.jit(loss_by_segment(tiny, layout, batch))(tiny.params)
    assert loss == pytest.approx(float(sums.objective), rel=1e-5)


@pytest.mark.parametrize("task, changes", [
    ("text_to_video", {}), ("text_to_video", {"visual_factors": 1}), ("frame_prediction_5", {"visual_factors": 4}),
    ("text_to_video", {"kv_heads": 2, "depth": 1, "unroll": 1, "place_embedding": False}),
])  # fmt: skip
def test_it_agrees_with_xla_on_the_forward_and_backward_pass(make_tiny, task, changes):
    """Layers unrolled and nothing computed twice; XLA adds what is not a product, here 1.5 %."""
    tiny = make_tiny(**(WIDE | changes))
    layout, rows = tiny.layout(task, GRID), 2
    step = jax.jit(jax.value_and_grad(loss_by_segment(tiny, layout, tiny.batch(layout, rows))))
    counted = step.lower(tiny.params).cost_analysis()["flops"]
    assert step_flops(tiny.model, layout, rows).dense == pytest.approx(counted, rel=0.05)


def test_it_grows_with_rows_and_depth(tiny):
    layout = tiny.layout("image_to_video")
    one, three = (step_flops(tiny.model, layout, rows) for rows in (1, 3))
    assert three.exact == 3 * one.exact and three.dense == 3 * one.dense
    deeper = step_flops(tiny.model.clone(depth=2 * tiny.model.depth), layout, 1)
    assert deeper.exact - one.exact == one.layers + one.attention


def full(batch):
    """With texts that fill their slots, for an empty one counts as padding."""
    return batch | {"valid": np.ones_like(batch["valid"])}


@pytest.mark.parametrize("task", ["text_to_video", "frame_prediction_5", "video_to_audio"])
def test_a_batch_counts_as_its_layout_whatever_pads_it(tiny, task):
    layout = tiny.layout(task, GRID)
    batch, told = full(tiny.batch(layout, 3)), step_flops(tiny.model, layout, 3).dense
    assert batch_flops(tiny.model, batch) == told
    places = ("ids", "table", "weights", "valid")
    longer = batch | {name: np.pad(batch[name], ((0, 0), (0, 5))) for name in places}
    assert batch_flops(tiny.model, longer) == told


def test_a_packed_row_counts_as_its_sequences(tiny):
    layouts = [tiny.layout(task, GRID) for task in ("text_to_video", "frame_prediction_5")]
    examples = [{name: value[0] for name, value in full(tiny.batch(layout, 1)).items()} for layout in layouts]
    row = packed_row(examples, sum(layout.length for layout in layouts) + 7, 2)
    told = sum(step_flops(tiny.model, layout, 1).dense for layout in layouts)
    assert batch_flops(tiny.model, {name: value[None] for name, value in row.items()}) == told
