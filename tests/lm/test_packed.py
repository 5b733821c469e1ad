"""Sequences that share a row: to each the same as if it were alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.data.packing import packed_row, padded
from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.lm.loss import drop_condition, make_loss
from videopoet_jax.lm.totals import token_sums
from videopoet_jax.lm.transformer import whole_sequence
from videopoet_jax.parallel import batch_sharding, make_mesh
from videopoet_jax.sequence import SPECIAL_TEXT, TEXT_EMBEDDING
from videopoet_jax.sequence.grid import Grid

GRIDS = [Grid(5, 16, 32, 16, 2), Grid(1, 16, 16, 16, 0), Grid(5, 32, 16, 16, 0)]
ROWS = [  # (task, grid) of each sequence
    [("text_to_video", 0), ("captioning", 2), ("image_to_video", 0)],
    [("video_to_audio", 0), ("text_to_image", 1), ("unconditional", 2), ("text_to_video", 2), ("text_to_image", 2)],
]
ROOM = 6  # texts


@pytest.fixture(scope="module")
def small(make_tiny):
    return make_tiny(text_pieces=12)


@pytest.fixture(scope="module")
def alone(small):
    """The sequences of each row, a batch of one each; every one has codes and a text of its own."""
    return [
        [small.batch(small.layout(task, GRIDS[grid]), 1, seed=10 * r + i) for i, (task, grid) in enumerate(row)]
        for r, row in enumerate(ROWS)
    ]


@pytest.fixture(scope="module")
def packed(alone):
    length = max(sum(batch["ids"].shape[1] for batch in row) for row in alone) + 5
    rows = [packed_row([{k: v[0] for k, v in batch.items()} for batch in row], length, ROOM) for row in alone]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def unpacked(alone):
    """The same sequences, a row each, as long as the longest."""
    batches = [batch for row in alone for batch in row]
    longest = max(batch["ids"].shape[1] for batch in batches)
    names = ("ids", "table", "positions", "weights", "valid")
    rows = [batch | {name: padded(batch[name][0], longest)[None] for name in names} for batch in batches]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def pieces(values, alone):
    """What each sequence has of packed rows."""
    for row, sequences in zip(values, alone, strict=True):
        ends = np.cumsum([batch["ids"].shape[1] for batch in sequences])
        yield from zip(np.split(row, ends)[:-1], sequences, strict=True)


def test_hidden_states_are_those_of_each_sequence_alone(small, packed, alone):
    for found, batch in pieces(np.asarray(small.hidden(packed)), alone):
        assert_allclose(found, small.hidden(batch)[0], atol=1e-5)


def test_a_model_that_counts_places_from_the_rows_start_sees_distances_alone(make_tiny, of_text, packed, alone):
    tiny = make_tiny(text_pieces=12, **of_text)
    for found, batch in list(pieces(np.asarray(tiny.hidden(packed)), alone))[:4]:
        assert_allclose(found, tiny.hidden(batch)[0], atol=2e-5)


def settings_of(small, **changes):
    fields = {k: getattr(small.model, k) for k in small.model.__dataclass_fields__ if k not in ("parent", "name")}
    loss = dict(condition_drop=0.0, chunk=16, z_coefficient=0.01) | changes
    return ConfigDict(dict(model=fields, loss=loss))


@functools.cache
def compiled(small, **changes):
    """`(params, batch) → ((loss, aux), gradient)`"""
    loss_fn = make_loss(settings_of(small, **changes), lambda params, ids, mask: params[ids])
    extra = {FROZEN: {"text_encoder": jnp.asarray(small.text_table)}}

    def loss(params, batch):
        return loss_fn(params, extra, batch, lambda name: jax.random.key(3))

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.parametrize("dropped", [0.0, 1.0])
def test_loss_and_gradient_are_the_mean_of_each_sequence_alone(small, packed, unpacked, dropped):
    step = compiled(small, condition_drop=dropped)
    (loss, aux), gradient = step(small.params, packed)
    counts = unpacked["weights"].sum(axis=1)
    each = [step(small.params, {name: v[i : i + 1] for name, v in unpacked.items()}) for i in range(len(counts))]
    assert_allclose(loss, np.average([value for (value, _), _ in each], weights=counts), rtol=1e-5)
    mean = jax.tree.map(lambda *leaves: np.average(leaves, axis=0, weights=counts), *(g for _, g in each))
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(mean))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5 * scale), gradient, mean)
    correct = sum(a.metrics["accuracy"].total for (_, a), _ in each)
    assert_allclose(aux.metrics["accuracy"].total, correct, rtol=1e-5)


def test_nothing_is_scored_from_one_sequence_into_the_next(small, packed):
    """The first token of each has no weight, whatever stands before it; what the last one would predict counts not."""
    first = np.diff(packed["segment"], axis=1, prepend=0) > 0
    assert first.sum() == sum(map(len, ROWS)) and not packed["weights"][first].any()
    hidden = small.hidden(packed)
    ends = np.diff(packed["segment"], axis=1, append=0) != 0
    noisy = jnp.where(ends[..., None], 1e3, hidden)
    fields = tuple(jnp.asarray(packed[name]) for name in ("ids", "table", "weights"))
    totals = [token_sums(small.model, small.params["output"], x, *fields, 16, 0.0) for x in (hidden, noisy)]
    assert_array_equal(*(jax.tree.leaves(each) for each in totals))


def test_each_sequence_loses_its_text_by_itself():
    rows, texts = 500, 4
    batch = {"text_ids": jnp.ones((rows, texts, 2), int), "text_mask": jnp.ones((rows, texts, 2), bool),
             "empty_text_ids": jnp.zeros((rows, texts, 2), int),
             "empty_text_mask": jnp.zeros((rows, texts, 2), bool)}  # fmt: skip
    ids, mask = drop_condition(batch, 0.1, jax.random.key(0))
    assert_array_equal(ids == 0, ~mask)
    lost = ~np.asarray(mask[..., 0])
    assert lost.mean() == pytest.approx(0.1, abs=0.02)
    assert np.corrcoef(lost.T)[0, 1] == pytest.approx(0, abs=0.1)


def test_eight_devices_are_one(small, packed):
    many = {name: np.concatenate([values] * 4) for name, values in packed.items()}
    (wanted, _), gradient = compiled(small, condition_drop=0.0)(small.params, many)
    mesh = make_mesh(data=2, fsdp=4)
    with jax.set_mesh(mesh):
        (found, _), spread = compiled(small, condition_drop=0.0)(
            small.params, jax.device_put(many, batch_sharding(mesh))
        )
    assert_allclose(found, wanted, rtol=1e-5)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5 * scale), spread, gradient)


MOST, LONGEST = 4, 12  # sequences, and their tokens
SEQUENCE = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=100, deadline=None)
@given(st.lists(SEQUENCE, min_size=1, max_size=MOST))
def test_no_token_sees_another_sequence_and_each_sees_what_it_sees_alone(sequences):
    """Sequences of so many tokens in front and behind, with so many text slots, of which so many are empty."""
    examples = []
    for before, behind, slots, empty in sequences:
        n = before + behind
        places = np.arange(n, dtype=np.int32)
        table = np.where(places < min(slots, before), TEXT_EMBEDDING, SPECIAL_TEXT)
        fields = {"ids": places, "table": table, "positions": np.tile(places[:, None], (1, 4)), "valid": places >= 0}
        text_mask = np.arange(3) < 3 - empty
        examples.append(fields | {"weights": places, "prefix_length": np.int32(before), "text_mask": text_mask})
    mask = np.array(mask_of(packed_row(examples, MOST * LONGEST, MOST)))
    start = 0
    for example in examples:
        n = len(example["ids"])
        own = mask_of({k: padded(v, LONGEST) if k in fields else v for k, v in example.items()})
        assert_array_equal(mask[start : start + n, start : start + n], own[:n, :n])
        mask[start : start + n, start : start + n] = False
        start += n
    assert not mask.any()


def mask_of(row):
    text_mask = jnp.asarray(row["text_mask"])[None]
    return _tokens({name: value[None] for name, value in row.items()}, text_mask).visible.dense()[0]


@jax.jit
def _tokens(batch, text_mask):
    return whole_sequence(batch, jnp.zeros((*text_mask.shape, 2)), text_mask)


def test_a_short_training_falls_as_unpacked_step_by_step(small, packed, unpacked):
    """The same eight sequences, in two rows and in eight."""
    optimizer = optax.adam(1e-2)

    def losses(batch):
        params, state, found = small.params, optimizer.init(small.params), []
        update = jax.jit(optimizer.update)
        for _ in range(20):
            (loss, _), gradient = compiled(small, condition_drop=0.0)(params, batch)
            updates, state = update(gradient, state)
            params = optax.apply_updates(params, updates)
            found.append(float(loss))
        return found

    together, apart = losses(packed), losses(unpacked)
    assert_allclose(together, apart, rtol=1e-3)
    assert together[-1] < 0.7 * together[0]
