"""Decoding: the cache equals no cache, greedy equals iterated argmax, and rows do not know of each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import State, forward, generate, make_prompt, written
from videopoet_jax.lm.logits import audio_logits, special_text_logits, visual_logits
from videopoet_jax.lm.tables import factor_codes
from videopoet_jax.sequence.assembly import disassemble
from videopoet_jax.sequence.grid import Grid
from videopoet_jax.sequence.layout import MODALITIES

PLAIN = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=None)
GREEDY = PLAIN.replace(temperature=0.0)
GUIDED = PLAIN.replace(guidance_scale=2.0)
BOTH = ["image_to_video", "unconditional"]
SHORT = Grid(frames=5, height=16, width=16, spatial_stride=16, audio_levels=1)


def prepare(tiny, task="text_to_video", rows=3, seed=0, grid=SHORT):
    layout = tiny.layout(task, grid)
    return layout, tiny.with_text(tiny.batch(layout, rows, seed)), jax.random.split(jax.random.key(4), rows)


def all_logits(tiny, hidden):
    """What every head makes of hidden states, the second visual factor given a first one of 0."""
    output, model = tiny.params["output"], tiny.model
    each, codes = factor_codes(model.visual_codes, model.visual_factors), jnp.zeros((*hidden.shape[:2], 1), int)
    visual = [visual_logits(output, hidden, codes[..., :j], each, 1e-6) for j in range(model.visual_factors)]
    audio = [audio_logits(output, hidden, level) for level in range(model.audio_levels)]
    return [*visual, *audio, special_text_logits(output, hidden, model.vocabulary.special_text_rows)]


@pytest.mark.parametrize(
    ("task", "factors", "as_text"), [(t, k, False) for t in BOTH for k in (1, 2)] + [("unconditional", 1, True)]
)
def test_cached_decoding_equals_the_uncached_forward(make_tiny, of_text, task, factors, as_text):
    tiny = make_tiny(visual_factors=factors, **(of_text if as_text else {}))
    layout, batch, _ = prepare(tiny, task, rows=2)
    p, n = layout.prefix_length, layout.length
    prompt = make_prompt(batch, guided=False)
    cache = tiny.model.make_cache(2, n)
    state = State(ids=jnp.asarray(batch["ids"]), cache=cache, hidden=jnp.zeros((2, tiny.model.width)))
    step = jax.jit(lambda state, start: forward(tiny.model, tiny.params, prompt, state, start, 1, n))
    state = jax.jit(lambda state: forward(tiny.model, tiny.params, prompt, state, 0, p, n))(state)
    hidden = [state.hidden]
    for i in range(p, n):
        state = step(state, i)
        hidden.append(state.hidden)
    cached, whole = jnp.stack(hidden, axis=1), tiny.hidden(batch)[:, p - 1 :]
    assert_allclose(cached, whole, atol=1e-5)
    for one, other in zip(all_logits(tiny, cached), all_logits(tiny, whole), strict=True):
        assert_allclose(one, other, atol=1e-5 * float(jnp.abs(other).max()))  # relative to the largest


def greedy(tiny, batch, layout):
    """Argmax of the uncached forward over the whole sequence, one token after the other."""
    ids = batch["ids"].copy()
    ids[:, layout.prefix_length :][batch["table"][:, layout.prefix_length :] != 0] = 0
    hidden = jax.jit(lambda ids: tiny.hidden(batch, ids=ids))
    output = tiny.params["output"]
    for i in range(layout.prefix_length, layout.length):
        if batch["table"][0, i] == 0:
            continue
        x = hidden(ids)[:, i - 1 : i]
        if batch["table"][0, i] == 2:
            row = 1024 * int(batch["positions"][0, i, 3] - MODALITIES.index("audio_out_0"))
            ids[:, i] = 262_400 + row + np.argmax(audio_logits(output, x, row // 1024)[:, 0], axis=-1)
            continue
        high = jnp.argmax(visual_logits(output, x, jnp.zeros((len(ids), 1, 0), int), 4, 1e-6), axis=-1)
        low = jnp.argmax(visual_logits(output, x, high[..., None], 4, 1e-6), axis=-1)
        ids[:, i] = 256 + np.asarray(4 * high + low)[:, 0]
    return ids


def test_all_levels_of_a_frame_together_are_written_so(tiny):
    """Each level's codes from its own rows, in turn; the same as the uncached argmax."""
    short = dataclasses.replace(SHORT, frames=1, audio_levels=2)
    layout = tiny.layout("unconditional", short, audio_order="frames")
    batch = tiny.with_text(tiny.batch(layout, 2))
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    expected = greedy(tiny, batch, layout)
    ids = generate(tiny.model, tiny.params, batch, layout, keys, GREEDY)
    assert_array_equal(ids, expected)
    assert disassemble(layout, np.asarray(ids))["audio"].shape == (2, 6, 2)


@pytest.mark.parametrize("task", ["text_to_video", "image_to_video"])
def test_greedy_decoding_is_the_iterated_argmax(tiny, task):
    layout, batch, keys = prepare(tiny, task)
    expected = greedy(tiny, batch, layout)
    assert_array_equal(generate(tiny.model, tiny.params, batch, layout, keys, GREEDY), expected)
    assert len(np.unique(expected[0])) > 12  # and not one id over and over


@pytest.mark.parametrize(
    "sampling", [PLAIN, GUIDED, GUIDED.replace(top_k=5, top_p=0.9)], ids=["plain", "guided", "top"]
)
def test_a_row_alone_and_in_company_and_twice(tiny, sampling):
    layout, batch, keys = prepare(tiny)
    together = generate(tiny.model, tiny.params, batch, layout, keys, sampling)
    assert_array_equal(generate(tiny.model, tiny.params, batch, layout, keys, sampling), together)
    for row in (0, 2):
        # As the pipeline does it: a bucket of fixed size, the other rows something else.
        order = np.array([row, 1, 1])
        alone = generate(
            tiny.model, tiny.params, {k: v[order] for k, v in batch.items()}, layout, keys[order], sampling
        )
        assert_array_equal(alone[0], together[row])


def test_a_bucket_of_another_size_gives_the_same(tiny):
    layout, batch, keys = prepare(tiny)
    together = generate(tiny.model, tiny.params, batch, layout, keys, PLAIN)
    single = generate(tiny.model, tiny.params, {k: v[1:2] for k, v in batch.items()}, layout, keys[1:2], PLAIN)
    assert_array_equal(single[0], together[1])


def test_keys_make_the_difference(tiny):
    layout, batch, keys = prepare(tiny)
    same_prompt = {k: np.repeat(v[:1], 3, axis=0) for k, v in batch.items()}
    ids = np.asarray(generate(tiny.model, tiny.params, same_prompt, layout, keys, PLAIN))
    assert (ids[0] != ids[1]).any() and (ids[1] != ids[2]).any()
    again = generate(tiny.model, tiny.params, same_prompt, layout, keys[jnp.array([0, 0, 0])], PLAIN)
    assert_array_equal(again, np.repeat(ids[:1], 3, axis=0))


def test_what_is_written_is_legal_and_the_prefix_stays(tiny):
    layout = tiny.layout("image_to_video")  # two RVQ levels, two tokens a latent
    batch = tiny.with_text(tiny.batch(layout, 2))
    keys = jax.random.split(jax.random.key(0), 2)
    ids = np.asarray(generate(tiny.model, tiny.params, batch, layout, keys, PLAIN))
    fixed = (batch["table"] == 0) | (np.arange(layout.length) < layout.prefix_length)
    assert_array_equal(ids[fixed], batch["ids"][fixed])
    codes = disassemble(layout, ids)  # raises where an id is not legal
    assert codes["video"].shape == (2, 2, 1, 2) and codes["audio"].shape == (2, 31, 2)


def test_outputs_in_the_batch_are_not_read(tiny):
    layout, batch, keys = prepare(tiny)
    other = batch | {"ids": batch["ids"].copy()}
    other["ids"][:, layout.prefix_length :][batch["table"][:, layout.prefix_length :] != 0] = 0
    expected = generate(tiny.model, tiny.params, batch, layout, keys, GREEDY)
    assert_array_equal(generate(tiny.model, tiny.params, other, layout, keys, GREEDY), expected)


def test_guidance_of_one_is_the_condition_and_of_zero_the_empty_prompt(tiny):
    layout, batch, keys = prepare(tiny)
    conditional = generate(tiny.model, tiny.params, batch, layout, keys, GREEDY)
    assert_array_equal(
        generate(tiny.model, tiny.params, batch, layout, keys, GREEDY.replace(guidance_scale=1.0)), conditional
    )
    empty = batch | {"text": batch["empty_text"], "text_mask": batch["empty_text_mask"]}
    unconditional = generate(tiny.model, tiny.params, empty, layout, keys, GREEDY)
    assert_array_equal(
        generate(tiny.model, tiny.params, batch, layout, keys, GREEDY.replace(guidance_scale=0.0)), unconditional
    )
    assert (np.asarray(conditional) != np.asarray(unconditional)).any()


def test_a_negative_prompt_is_another_text_below(tiny):
    layout, batch, keys = prepare(tiny)
    negative = batch | {"empty_text": batch["text"][::-1].copy(), "empty_text_mask": batch["text_mask"][::-1].copy()}
    strong = GREEDY.replace(guidance_scale=4.0)
    ids = [np.asarray(generate(tiny.model, tiny.params, b, layout, keys, strong)) for b in (batch, negative)]
    assert (ids[0] != ids[1]).any()


def test_progress_and_inputs_that_survive(tiny):
    layout, batch, keys = prepare(tiny)
    on_device = {k: jnp.asarray(v) for k, v in batch.items()}
    seen = []
    ids = generate(
        tiny.model,
        tiny.params,
        on_device,
        layout,
        keys,
        PLAIN,
        lambda done, of, ids: seen.append((done, of, ids.shape)),
    )
    assert seen == [(1, 2, ids.shape), (2, 2, ids.shape)]
    assert_array_equal(on_device["ids"], batch["ids"])  # the loops donate their state, not the caller's arrays


def test_guidance_needs_its_text(tiny):
    layout, batch, keys = prepare(tiny)
    del batch["empty_text"]
    with pytest.raises(ValueError, match="guidance_scale without empty_text"):
        generate(tiny.model, tiny.params, batch, layout, keys, GUIDED)


def test_every_run_of_codes_is_one_loop(tiny):
    layout = tiny.layout("image_to_video")
    runs = [(s.kind, s.level, read, s.start, rest) for s, read, rest in written(layout)]
    p = layout.prefix_length
    video, first, second = p + 1, p + 1 + 2 + 2, p + 1 + 2 + 2 + 31
    assert runs == [
        ("video", 0, 0, video, True),
        ("audio", 0, video + 2, first, True),
        ("audio", 1, second, second, False),
    ]


def test_a_text_is_written_piece_by_piece(make_tiny):
    """Each piece is the likeliest of the text's own rows, given all that the uncached forward has seen before it."""
    tiny = make_tiny(text_pieces=12)
    layout = tiny.layout("captioning", SHORT)
    batch = tiny.with_text(tiny.batch(layout, 2) | {"empty_text_ids": np.ones((2, 3), int)})
    ids = np.asarray(generate(tiny.model, tiny.params, batch, layout, jax.random.split(jax.random.key(4), 2), GREEDY))
    rows = tiny.model.vocabulary.special_text_rows
    scores = special_text_logits(tiny.params["output"], tiny.hidden(batch, ids=ids), rows)
    (run,) = (s for s in layout.segments if s.kind == "pieces")
    expected = jnp.argmax(scores[:, run.start - 1 : run.stop - 1, 256:], axis=-1)
    assert_array_equal(ids[:, run.start : run.stop] - 266_496, expected)
    drawn = [
        np.asarray(generate(tiny.model, tiny.params, batch, layout, jax.random.split(key, 2), PLAIN))[:, run.start :]
        for key in jax.random.split(jax.random.key(5), 4)
    ]
    assert len(np.unique(drawn)) > 2 and 266_496 <= np.min(drawn) <= np.max(drawn) < 266_496 + 12
    assert disassemble(layout, ids)["text_ids"].shape == (2, 3)
