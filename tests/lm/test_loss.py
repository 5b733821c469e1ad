"""The chunked loss against the naive one, the joint of the chain, and what is not scored."""

import functools
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.lm.heads import heads
from videopoet_jax.lm.language_model import init_params
from videopoet_jax.lm.logits import audio_logits, special_text_logits, visual_logits
from videopoet_jax.lm.loss import drop_condition, make_loss, metrics_of
from videopoet_jax.lm.totals import token_sums

TASKS = ["text_to_video", "unconditional"]


class Naive(NamedTuple):
    """Of every scored position: −log p of its token, the sum of squared log partition functions, all factors right."""

    nll: np.ndarray
    z: np.ndarray
    correct: np.ndarray


def naive(tiny, batch):
    """Every token given those before it, one at a time; 0 where nothing is scored."""
    output, hidden, rows = tiny.params["output"], tiny.hidden(batch), tiny.model.vocabulary.special_text_rows
    sums = Naive(*(np.zeros(batch["ids"].shape) for _ in range(3)))
    for b, i in np.argwhere(batch["weights"] > 0):
        x, token = hidden[b : b + 1, i - 1 : i], int(batch["ids"][b, i])
        if token < 256 or token >= 266_496:
            drawn = [(special_text_logits(output, x, rows), token if token < 256 else 256 + token - 266_496)]
        elif token < 262_400:
            high, low = divmod(token - 256, 4)
            first = visual_logits(output, x, jnp.zeros((1, 1, 0), int), 4, 1e-6)
            drawn = [(first, high), (visual_logits(output, x, jnp.full((1, 1, 1), high), 4, 1e-6), low)]
        else:
            level, code = divmod(token - 262_400, 1024)
            drawn = [(audio_logits(output, x, level), code)]
        sums.nll[b, i] = sum(-float(jax.nn.log_softmax(v[0, 0])[k]) for v, k in drawn)
        sums.z[b, i] = sum(float(jax.nn.logsumexp(v[0, 0])) ** 2 for v, _ in drawn)
        sums.correct[b, i] = all(int(jnp.argmax(v[0, 0])) == k for v, k in drawn)
    return sums


def test_a_text_that_is_written_is_scored_by_its_own_rows(make_tiny):
    tiny = make_tiny(text_pieces=12)
    batch = tiny.batch(tiny.layout("captioning"), 3)
    fields = tuple(jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
    totals = token_sums(tiny.model, tiny.params["output"], tiny.hidden(batch), *fields, 7, 0.0).totals
    assert_allclose(totals["special"].nll, naive(tiny, batch).nll.sum(), rtol=1e-5)
    assert totals["special"].weight == batch["weights"].sum() > 3 * 1  # <bot_o>, and the pieces up to the end
    assert totals["video"].weight == 0


@pytest.mark.parametrize("task", ["text_to_video", "captioning"])
def test_padding_behind_a_sequence_changes_nothing(make_tiny, task):
    """Rows of a group are as long as its longest kind."""
    tiny = make_tiny(text_pieces=12)
    batch = tiny.batch(tiny.layout(task), 2)
    longer = {
        name: np.pad(batch[name], [(0, 0), (0, 9)] + [(0, 0)] * (batch[name].ndim - 2))
        for name in ("ids", "table", "positions", "weights", "valid")
    }
    longer = {**batch, **longer}
    n = batch["ids"].shape[1]
    counted = batch["weights"][:, 1:] > 0  # what follows the end of a text is no one's to read
    one, other = tiny.hidden(batch), tiny.hidden(longer)[:, :n]
    assert_allclose(one[:, :-1][counted], other[:, :-1][counted], atol=1e-5)
    losses = []
    for b in (batch, longer):
        fields = tuple(jnp.asarray(b[name]) for name in ("ids", "table", "weights"))
        totals = token_sums(tiny.model, tiny.params["output"], tiny.hidden(b), *fields, 7, 0.0).totals
        losses.append(sum(t.nll for t in totals.values()))
    assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 999])
def test_chunks_sum_to_the_naive_cross_entropy(tiny, chunk):
    layout = tiny.layout("image_to_video")
    batch = tiny.batch(layout, 2)
    batch["weights"] = batch["weights"] * np.random.default_rng(1).uniform(0.5, 2, batch["weights"].shape)
    batch["weights"] = batch["weights"].astype(np.float32)
    fields = tuple(jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
    score = jax.jit(functools.partial(token_sums, tiny.model, chunk=chunk, z_coefficient=0.1))
    objective, totals = score(tiny.params["output"], tiny.hidden(batch), *fields)
    sums = naive(tiny, batch)
    assert_allclose(objective, ((sums.nll + 0.1 * sums.z) * batch["weights"]).sum(), rtol=1e-5)
    level = (batch["ids"] - 262_400) // 1024
    mine = {
        "special": batch["table"] == 0,
        "video": batch["table"] == 1,
        "audio_0": (batch["table"] == 2) & (level == 0),
        "audio_1": (batch["table"] == 2) & (level == 1),
    }
    assert set(totals) == set(mine)
    for name, mask in mine.items():
        for kind, value in sums._asdict().items():
            assert_allclose(getattr(totals[name], kind), (value * batch["weights"])[mask].sum(), rtol=1e-5)
        assert_allclose(totals[name].weight, batch["weights"][mask].sum(), rtol=1e-5)


def test_gradients_do_not_depend_on_the_chunk(tiny):
    batch = tiny.batch(tiny.layout("text_to_video"), 2)
    hidden, fields = tiny.hidden(batch), tuple(jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))

    def loss(output, hidden, chunk):
        return token_sums(tiny.model, output, hidden, *fields, chunk, 0.1).objective

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    few, many = (gradient(tiny.params["output"], hidden, chunk) for chunk in (5, 500))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-4), few, many)
    assert_array_equal(few[1][:, -1], 0)  # nothing follows the last token


def test_the_derivative_is_that_of_the_sums(tiny):
    """The one that is taken beside the logits, and JAX's own of scoring all at once."""
    batch = tiny.batch(tiny.layout("text_to_video"), 2)
    hidden, (ids, table, weights) = (
        tiny.hidden(batch),
        (jnp.asarray(batch[name]) for name in ("ids", "table", "weights")),
    )

    def plain(output, hidden):
        total = 0.0
        for head in heads(tiny.model):
            own = weights[:, 1:] * head.belongs(ids, table)[:, 1:]
            s = head.score(output, hidden[:, :-1], jnp.where(own != 0, head.index(ids)[:, 1:], 0))
            total += jnp.sum(own * (s.nll + 0.1 * s.z))
        return 3.0 * total

    def mine(output, hidden):
        return 3.0 * token_sums(tiny.model, output, hidden, ids, table, weights, 32, 0.1).objective

    found, wanted = (jax.jit(jax.grad(f, argnums=(0, 1)))(tiny.params["output"], hidden) for f in (mine, plain))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=2e-4), found, wanted)


def test_logits_are_computed_once(make_tiny):
    """Each of the four heads multiplies three times: logits, slopes of the hidden states, slopes of its table."""
    tiny = make_tiny(visual_factors=1)
    batch = tiny.batch(tiny.layout("text_to_video"), 2)
    fields = tuple(jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))

    def loss(output, hidden):
        return token_sums(tiny.model, output, hidden, *fields, 64, 0.1).objective

    hidden = jnp.zeros((*batch["ids"].shape, tiny.model.width))
    program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(tiny.params["output"], hidden).as_text()
    assert len(heads(tiny.model)) == 4 and program.count("stablehlo.dot_general") == 3 * 4


def test_no_more_logits_exist_than_a_chunks(make_tiny):
    """What a step takes beside its arguments, 16,384 codes scored at 1,024 places: not a quarter of all logits."""
    model = make_tiny(visual_factors=1).model.clone(visual_codes=2**14)
    output = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))["output"]
    places = [jax.ShapeDtypeStruct((2, 512), dtype) for dtype in (jnp.int32, jnp.int32, jnp.float32)]
    hidden = jax.ShapeDtypeStruct((2, 512, model.width), jnp.float32)

    def loss(output, hidden, *fields, chunk):
        return token_sums(model, output, hidden, *fields, chunk, 0.1).objective

    def taken(chunk):
        step = jax.jit(jax.value_and_grad(functools.partial(loss, chunk=chunk), argnums=(0, 1)))
        return step.lower(nn.meta.unbox(output), hidden, *places).compile().memory_analysis().temp_size_in_bytes

    logits = 4 * 2 * 512 * 2**14
    assert taken(32) < logits / 4 < logits < taken(1024)


@pytest.mark.parametrize("factors", [1, 2, 4])
def test_the_chain_is_a_distribution_over_all_codes(make_tiny, factors):
    tiny = make_tiny(visual_factors=factors)
    output, each = tiny.params["output"], round(16 ** (1 / factors))
    x = jax.random.normal(jax.random.key(0), (1, 1, 16))
    total, conditionals = 0.0, []
    for code in itertools.product(range(each), repeat=factors):
        known = jnp.array(code)[None, None]
        logits = [visual_logits(output, x, known[..., :j], each, 1e-6)[0, 0] for j in range(factors)]
        total += np.exp(sum(float(jax.nn.log_softmax(v)[c]) for v, c in zip(logits, code, strict=True)))
        conditionals.append(np.asarray(jax.nn.softmax(logits[-1])[:each]))
    assert total == pytest.approx(1.0, abs=1e-5)
    if factors > 1:
        assert np.ptp(conditionals, axis=0).max() > 0.01  # the last factor does look at the others


def loss_of(tiny, **settings):
    fields = {k: getattr(tiny.model, k) for k in tiny.model.__dataclass_fields__ if k not in ("parent", "name")}
    settings = dict(condition_drop=0.0, chunk=16, z_coefficient=0.0) | settings
    return make_loss(ConfigDict(dict(model=fields, loss=settings)), lambda params, ids, mask: params[ids])


@functools.cache
def compiled(tiny, **settings):
    loss_fn = loss_of(tiny, **settings)

    @jax.jit
    def run(params, extra, batch):
        return loss_fn(params, extra, batch, lambda name: jax.random.key(3))

    return run


def run(tiny, batch, **settings):
    return compiled(tiny, **settings)(tiny.params, {FROZEN: {"text_encoder": jnp.asarray(tiny.text_table)}}, batch)


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_is_the_mean_over_output_tokens(tiny, task):
    batch = tiny.batch(tiny.layout(task), 2)
    loss, aux = run(tiny, batch)
    nll = naive(tiny, batch).nll
    assert_allclose(loss, nll.sum() / batch["weights"].sum(), rtol=1e-5)
    means = {name: value.total / value.weight for name, value in aux.metrics.items() if name != "loss"}
    assert_allclose(means["bits_per_token"], loss / np.log(2), rtol=1e-5)
    assert_allclose(
        means["loss_video"],
        nll[(batch["table"] == 1)].sum() / ((batch["table"] == 1) & (batch["weights"] > 0)).sum(),
        rtol=1e-5,
    )
    assert {"loss_audio", "loss_audio_0", "loss_audio_1", "loss_special", "accuracy", "accuracy_video"} <= set(
        aux.metrics
    )
    assert_array_equal(aux.extra[FROZEN]["text_encoder"], tiny.text_table)


def test_the_z_loss_adds_its_square(tiny):
    batch = tiny.batch(tiny.layout("unconditional"), 1)
    plain, with_z = run(tiny, batch)[0], run(tiny, batch, z_coefficient=0.01)[0]
    assert_allclose(with_z - plain, 0.01 * naive(tiny, batch).z.sum() / batch["weights"].sum(), rtol=1e-4)


def test_dropping_the_condition_is_the_empty_prompt(tiny):
    batch = tiny.batch(tiny.layout("text_to_video"), 2)
    empty = batch | {"text_ids": batch["empty_text_ids"], "text_mask": batch["empty_text_mask"]}
    assert_allclose(run(tiny, batch, condition_drop=1.0)[0], run(tiny, empty)[0], rtol=1e-6)
    assert abs(float(run(tiny, batch)[0] - run(tiny, empty)[0])) > 1e-4


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_embeddings_that_the_batch_brings_are_as_those_made_in_the_step(tiny, rate):
    batch = tiny.batch(tiny.layout("text_to_video"), 4)
    kept = batch | {"text_embedding": tiny.text_table[batch["text_ids"]]}
    without = compiled(tiny, condition_drop=rate)(tiny.params, {FROZEN: {"empty_text": tiny.text_table[1:2]}}, kept)[0]
    assert_allclose(without, run(tiny, batch, condition_drop=rate)[0], rtol=1e-6)


def test_the_share_of_dropped_rows():
    rows = 4000
    batch = {"text_ids": jnp.ones((rows, 2), int), "text_mask": jnp.ones((rows, 2), bool),
             "empty_text_ids": jnp.zeros((rows, 2), int), "empty_text_mask": jnp.zeros((rows, 2), bool)}  # fmt: skip
    ids, mask = drop_condition(batch, 0.1, jax.random.key(0))
    assert_array_equal(ids == 0, ~mask)
    assert np.asarray(~mask[:, 0]).mean() == pytest.approx(0.1, abs=0.02)


def test_metrics_of_nothing_weigh_nothing(tiny):
    batch = tiny.batch(tiny.layout("unconditional"), 1)
    fields = (jnp.asarray(x) for x in (batch["ids"], batch["table"], batch["weights"] * 0))
    totals = token_sums(tiny.model, tiny.params["output"], tiny.hidden(batch), *fields, 16, 0.0).totals
    assert all(mean == (0, 0) for mean in metrics_of(totals).values())


def test_a_few_steps_learn_one_example(tiny):
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    loss_fn = loss_of(tiny)
    optimizer = optax.adam(1e-2)
    extra = {FROZEN: {"text_encoder": jnp.asarray(tiny.text_table)}}

    @jax.jit
    def step(params, state):
        gradient, aux = jax.grad(lambda p: loss_fn(p, extra, batch, lambda _: jax.random.key(0)), has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, aux.metrics["loss"]

    params, state, losses = tiny.params, optimizer.init(tiny.params), []
    for _ in range(30):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
