"""Who sees what, which parameters there are and how their axes are called."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from videopoet_jax.configs.lm import SIZES, get_config

from videopoet_jax.lm.transformer import PrefixLM, whole_sequence
from videopoet_jax.parallel.axes import RULES


def changed(a, b):
    """Positions whose hidden states differ."""
    return set(np.flatnonzero(np.abs(np.asarray(a - b)).max(axis=(0, 2)) > 1e-6))


def test_the_prefix_sees_itself_and_the_output_looks_back(tiny):
    layout = tiny.layout("image_to_video")
    batch = tiny.batch(layout, 1)
    reference = tiny.hidden(batch)
    video = [i for i, s in enumerate(batch["table"][0]) if s == 1]
    in_prefix, in_output = video[0], video[-1]
    assert in_prefix < layout.prefix_length <= in_output

    def with_code(position, code):
        ids = batch["ids"].copy()
        ids[0, position] = 256 + code
        return tiny.hidden(batch, ids=ids)

    code = int(batch["ids"][0, in_output]) - 256
    assert_array_equal(with_code(in_output, (code + 5) % 16)[:, :in_output], reference[:, :in_output])
    assert changed(with_code(in_output, (code + 5) % 16), reference) == set(range(in_output, layout.length))
    code = int(batch["ids"][0, in_prefix]) - 256
    # All the rest, the prefix before it included, but not the padded text slots, which are nobody's business.
    valid = set(np.flatnonzero(batch["valid"][0]))
    assert changed(with_code(in_prefix, (code + 5) % 16), reference) >= valid


def test_padded_text_is_not_seen(tiny):
    batch = tiny.batch(tiny.layout("text_to_video"), 2)
    mask = np.array([[True, False, False], [True, True, False]])
    reference = tiny.hidden(batch, text_mask=mask)
    text = tiny.text_table[batch["text_ids"]]
    noise = np.where(mask[..., None], 0, 9.0).astype(np.float32)
    seen = np.where(batch["table"] == 3, np.pad(mask, ((0, 0), (3, batch["table"].shape[1] - 6))), True)
    after = tiny.hidden(batch, text_mask=mask, text=text + noise)
    assert_array_equal(np.asarray(after)[seen], np.asarray(reference)[seen])


def test_text_slots_take_the_embeddings_in_order(tiny):
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    full = np.ones((1, 3), bool)
    text = tiny.text_table[batch["text_ids"]]
    reference = tiny.hidden(batch, text_mask=full, text=text)
    assert len(changed(tiny.hidden(batch, text_mask=full, text=text[:, ::-1]), reference)) == reference.shape[1]


def test_the_next_place_is_known(tiny):
    """Hidden state i depends on where token i + 1 goes, though not on what it is."""
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    n = batch["ids"].shape[1]
    moved = batch["positions"].copy()
    moved[0, n - 1, 0] += 3
    assert changed(tiny.hidden(batch, positions=moved), tiny.hidden(batch)) == {n - 2, n - 1}


def test_each_number_of_a_backbone_counts(make_tiny, of_text):
    tiny = make_tiny(**of_text)
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    plain = dict(activation="silu", embedding_scale=1.0, rotary_bases=(10.0,), rotary_stretch=())
    for name, value in plain.items():
        other = dataclasses.replace(tiny, model=tiny.model.clone(**{name: value}))
        assert float(jnp.abs(other.hidden(batch) - tiny.hidden(batch)).max()) > 1e-3, name
    assert "query_norm" not in tiny.params["layers"]["attention"]
    assert "positions" not in make_tiny(**of_text, place_embedding=False).params


def test_rows_are_independent(tiny):
    layout = tiny.layout("image_to_video")
    batch = tiny.batch(layout, 3)
    alone = {k: v[1:2] for k, v in batch.items()}
    assert_allclose(tiny.hidden(batch)[1:2], tiny.hidden(alone), atol=1e-5)


@pytest.mark.parametrize("change", [{"unroll": 2, "remat": "full"}, {"remat": "dots"}, {"remat": "mlp"}])
def test_unrolling_and_remat_change_no_value_and_no_parameter(tiny, shapes_of, change):
    other = dataclasses.replace(tiny, model=tiny.model.clone(**change))
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    assert_allclose(other.hidden(batch), tiny.hidden(batch), atol=1e-5)
    shapes = [jax.tree.map(lambda x: x.shape, nn.meta.unbox(shapes_of(t.model))) for t in (tiny, other)]
    assert shapes[0] == shapes[1]

    def loss(params, t):
        return jnp.sum(jnp.square(dataclasses.replace(t, params=params).hidden(batch)))

    gradients = [jax.jit(jax.grad(lambda p, t=t: loss(p, t)))(tiny.params) for t in (tiny, other)]
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-3, atol=1e-3), *gradients)


def test_bfloat16_is_near_float32(tiny):
    other = dataclasses.replace(tiny, model=tiny.model.clone(dtype="bfloat16"))
    batch = tiny.batch(tiny.layout("text_to_video"), 1)
    hidden = other.hidden(batch)
    assert hidden.dtype == jnp.bfloat16
    assert jnp.mean(jnp.abs(hidden.astype(jnp.float32) - tiny.hidden(batch))) < 0.03


def test_every_parameter_names_its_axes(shapes_of):
    boxed = shapes_of(PrefixLM(**get_config("nano").model))
    leaves = jax.tree.leaves(boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned))
    for leaf in leaves:
        assert isinstance(leaf, nn.LogicallyPartitioned)
        assert len(leaf.names) == leaf.value.ndim and set(leaf.names) <= set(RULES) | {None}
    assert boxed["layers"]["mlp"]["gate"].names == ("layers", "embed", "mlp")
    assert boxed["layers"]["attention"]["query"].names == ("layers", "embed", "heads", "kv")
    assert boxed["output"]["visual"].names == ("factor", "vocab", "embed")
    assert boxed["input"]["audio"].names == ("vocab", "embed")


@pytest.mark.parametrize("size, whole, layers", [
    ("nano", 4.02e6, 2.46e6), ("300m", None, 308e6), ("1b", None, 1.03e9), ("8b", None, 7.96e9),
    ("llama_1b", None, 973e6), ("gemma_2b", None, 1.98e9),
])  # fmt: skip
def test_sizes(shapes_of, size, whole, layers):
    """The paper's names count what is not a table; nano's budget counts all."""
    shapes = nn.meta.unbox(shapes_of(PrefixLM(**get_config(size).model)))

    def count(tree):
        return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))

    assert count(shapes["layers"]) == pytest.approx(layers, rel=0.01)
    if whole:
        assert count(shapes) == pytest.approx(whole, rel=0.01) and count(shapes) < 4.9e6


def test_tables_follow_the_vocabulary(shapes_of):
    shapes = jax.tree.map(lambda x: x.shape, nn.meta.unbox(shapes_of(PrefixLM(**get_config("1b").model))))
    tables = {"special_text": (32_512, 2048), "visual": (1, 2**18, 2048), "audio": (4096, 2048)}
    assert {k: shapes["output"][k] for k in tables} == tables == {k: shapes["input"][k] for k in tables}
    nano = jax.tree.map(lambda x: x.shape, nn.meta.unbox(shapes_of(PrefixLM(**get_config("nano").model))))
    assert nano["output"]["visual"] == (2, 512, 256) and nano["output"]["chain"] == (1, 512, 256)


@pytest.mark.parametrize("size", SIZES)
def test_configs_fit_together(size):
    config = get_config(size)
    model = PrefixLM(**config.model)
    assert model.audio_levels >= config.data.audio_levels
    assert sum(config.data.tasks.values()) == pytest.approx(1.0)


def test_mistakes_are_named():
    model = get_config("nano").model.to_dict()
    with pytest.raises(ValueError, match="sum to head_dim 64"):
        PrefixLM(**model | {"rotary_sections": (32, 16, 8)})
    with pytest.raises(ValueError, match="need as many of both, 3 .* or 1"):
        PrefixLM(**model | {"rotary_sections": (64,)})
    with pytest.raises(ValueError, match=r"rotary_stretch \(8.0,\): need"):
        PrefixLM(**model | {"rotary_stretch": (8.0,)})
    with pytest.raises(ValueError, match="activation 'relu': unknown; use one of silu, gelu_tanh"):
        PrefixLM(**model | {"activation": "relu"})
    with pytest.raises(ValueError, match="kv_heads 3: must divide the 4 heads"):
        PrefixLM(**model | {"kv_heads": 3})
    with pytest.raises(ValueError, match="modalities 4: sequences have 14"):
        PrefixLM(**model | {"modalities": 4})
    with pytest.raises(ValueError, match="remat 'some': unknown"):
        PrefixLM(**model | {"remat": "some"})
    with pytest.raises(ValueError, match="lm size '3b': unknown"):
        get_config("3b")


def test_whole_sequence_is_what_assemble_makes(tiny):
    batch = tiny.batch(tiny.layout("unconditional"), 2)
    tokens = whole_sequence(batch, jnp.zeros((2, 3, 6)), jnp.asarray(batch["text_mask"]))
    mask = tokens.visible.dense()
    assert mask.shape == (2, batch["ids"].shape[1], batch["ids"].shape[1])
    assert bool(mask[:, :, 0].all())
