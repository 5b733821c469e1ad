"""The encoder's maths: buckets, padding, scan, and the sizes of the published encoders."""

import functools
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.layers.norms import rms_norm
from videopoet_jax.parallel import abstract, make_mesh, param_shardings
from videopoet_jax.pretrained import files
from videopoet_jax.text.embed import init_params
from videopoet_jax.text.t5 import Block, T5Encoder, attend, relative_buckets
from videopoet_jax.text.weights import config_from_huggingface, shapes

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = dict(
    vocabulary=96, width=64, depth=2, heads=4, head_width=16, mlp_width=128, buckets=32, max_distance=128,
    epsilon=1e-6, dtype="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def small():
    model = T5Encoder(**SMALL)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8), np.int32), np.ones((1, 8), bool))["params"]
    return model, nn.meta.unbox(params)


def run(model: T5Encoder, params: dict, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(model.apply)({"params": params}, ids, mask))


def test_buckets_against_a_literal_table():
    # Row 128 of 257 positions: distances −128 … 128, by hand from T5's rule (8 exact, 8 logarithmic, each side).
    row = relative_buckets(257, buckets=32, max_distance=128)[128]
    edges = [8, 12, 16, 23, 32, 46, 64, 91]  # the first distance of buckets 8 … 15
    back = np.concatenate([np.arange(8), 8 + np.searchsorted(edges, np.arange(8, 129), side="right") - 1])
    assert_array_equal(row[128::-1], back)
    assert_array_equal(row[129:], back[1:] + 16)
    assert row[[0, 120, 127, 128, 129, 256]].tolist() == [15, 8, 1, 0, 17, 31]


def test_buckets_depend_on_distance_alone_and_any_size_uses_only_its_rows():
    table = relative_buckets(40, buckets=8, max_distance=20)
    assert_array_equal(table[1:, 1:], table[:-1, :-1])
    assert set(np.unique(table)) == set(range(8)) - {4}  # 4 would be "ahead by nothing"


def test_rms_norm_keeps_the_mean_and_ignores_the_scale_of_its_input():
    x = np.random.default_rng(0).normal(5.0, 1.0, (3, 16)).astype(np.float32)
    norm = jax.jit(rms_norm, static_argnums=2)
    y = np.asarray(norm(x, jnp.ones(16), 0.0))
    assert_allclose(np.mean(y**2, -1), 1.0, rtol=1e-5)
    assert_allclose(norm(100 * x, jnp.ones(16), 0.0), y, rtol=1e-5)
    assert (np.mean(y, -1) > 0.5).all()  # a LayerNorm would have taken the mean away


def test_attention_equals_the_naive_sum_and_gives_masked_keys_nothing():
    rng = np.random.default_rng(1)
    query, key, value = rng.normal(size=(3, 2, 5, 3, 4)).astype(np.float32)
    bias = rng.normal(size=(3, 5, 5)).astype(np.float32)
    mask = np.arange(5)[None] < np.array([[5], [3]])
    attention = jax.jit(attend)
    out = np.asarray(attention(query, key, value, bias, mask))
    for b, valid in ((0, 5), (1, 3)):
        for m in range(3):
            scores = np.array(query[b, :, m] @ key[b, :valid, m].T + bias[m, :, :valid], np.float64)
            weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
            assert_allclose(out[b, :, m], weights @ value[b, :valid, m], atol=1e-5)
    value[1, 3:] = 1e9
    assert_array_equal(attention(query, key, value, bias, mask)[1], out[1])
    assert np.isfinite(attention(query, key, value, bias, np.zeros_like(mask))).all()


def test_what_stands_in_the_padding_changes_nothing(small):
    model, params = small
    ids = np.random.default_rng(2).integers(3, 96, (2, 10), np.int32)
    mask = np.arange(10)[None] < np.array([[4], [10]])
    out = run(model, params, ids, mask)
    other = run(model, params, np.where(mask, ids, 7).astype(np.int32), mask)
    assert_array_equal(out[0, :4], other[0, :4])
    short = run(model, params, ids[:1, :4], mask[:1, :4])
    assert_allclose(short[0], out[0, :4], atol=1e-5)  # and neither does how much padding there is


def test_scan_equals_a_loop_over_the_layers(small):
    model, params = small
    params = jax.tree.map(np.asarray, params)
    ids = np.random.default_rng(3).integers(3, 96, (2, 7), np.int32)
    mask = np.ones((2, 7), bool)
    bias = params["relative_bias"][relative_buckets(7, buckets=32, max_distance=128)].transpose(2, 0, 1)
    x = params["embedding"][ids]
    block = Block(SMALL["heads"], SMALL["head_width"], SMALL["mlp_width"], SMALL["epsilon"])
    for layer in range(SMALL["depth"]):
        x, _ = jax.jit(block.apply)({"params": jax.tree.map(lambda p, i=layer: p[i], params["layers"])}, x, bias, mask)
    x = rms_norm(x, jnp.asarray(params["final_norm"]["scale"]), SMALL["epsilon"])
    assert_allclose(run(model, params, ids, mask), x, atol=1e-5)


def test_layers_start_different(small):
    query = np.asarray(small[1]["layers"]["attention"]["query"])
    assert query.shape == (2, 64, 4, 16)
    assert np.abs(query[0] - query[1]).max() > 1e-3


def test_an_id_beyond_the_table_is_not_silent(small):
    model, params = small
    assert np.isnan(run(model, params, np.array([[96, 1]], np.int32), np.ones((1, 2), bool))).all()


def boxed_shapes(model):
    return abstract(functools.partial(init_params, model))


# Hugging Face's config.json of each (rows, width, layers, heads, mlp); parameters of its encoder, as transformers'
# T5EncoderModel counts them, and of the whole model with an output table of its own: 77 M, 2.8, 11.1 and 3.7 billion.
PUBLISHED = {
    "t5-v1_1-small": ((32_128, 512, 8, 6, 1024), 35_332_800, 76_961_152),
    "t5-v1_1-xl": ((32_128, 2048, 24, 32, 5120), 1_223_527_424, 2_849_757_184),
    "t5-v1_1-xxl": ((32_128, 4096, 24, 64, 10_240), 4_762_310_656, 11_135_332_352),
    "mt5-xl": ((250_112, 2048, 24, 32, 5120), 1_669_958_656, 3_742_619_648),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_holds_exactly_the_published_encoder(name):
    (vocabulary, d, depth, heads, mlp), encoder, whole = PUBLISHED[name]
    config = config_from_huggingface(
        dict(model_type=name[: name.index("5") + 1], vocab_size=vocabulary, d_model=d, num_layers=depth, d_kv=64,
             num_heads=heads, d_ff=mlp, relative_attention_num_buckets=32, layer_norm_epsilon=1e-6,
             feed_forward_proj="gated-gelu")
    )  # fmt: skip
    params = nn.meta.unbox(boxed_shapes(T5Encoder(**config, dtype="bfloat16")))  # shapes alone: nothing is allocated
    assert sum(p.size for p in jax.tree.leaves(params)) == encoder
    # What the checkpoint holds beside it: a decoder with a second attention and a third norm, and the output table.
    decoder = depth * (8 * d * heads * 64 + 3 * d * mlp + 3 * d) + 32 * heads + d
    assert encoder + decoder + vocabulary * d == whole
    flat = files.flatten(params)
    for ours, shape in shapes(config).items():  # … and the tensors that the file must have are as many numbers
        assert math.prod(flat[ours].shape) == math.prod(shape) * (depth if ours.startswith("layers.") else 1), ours
    assert flat.keys() == shapes(config).keys()
    assert flat["layers.attention.query"].shape == (depth, d, heads, 64)
    assert flat["layers.mlp.down"].shape == (depth, mlp, d)


def test_the_config_of_xl_is_the_published_one():
    model = load_config(f"{CONFIGS}/text_encoder.py:xl").model
    (vocabulary, *sizes), *_ = PUBLISHED["t5-v1_1-xl"]
    assert [model.vocabulary, model.width, model.depth, model.heads, model.mlp_width] == [vocabulary, *sizes]
    assert (model.head_width, model.buckets, model.max_distance, model.epsilon) == (64, 32, 128, 1e-6)


def test_xl_is_split_over_a_mesh_as_its_axes_say():
    mesh = make_mesh(data=1, fsdp=4, tensor=2)
    shardings = param_shardings(boxed_shapes(T5Encoder(**load_config(f"{CONFIGS}/text_encoder.py:xl").model)), mesh)
    assert shardings["layers"]["mlp"]["down"].spec == PartitionSpec(None, "tensor", "fsdp")
    assert shardings["layers"]["attention"]["query"].spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert shardings["embedding"].spec == PartitionSpec("tensor", "fsdp")


def test_the_nano_encoder_is_small():
    params = boxed_shapes(T5Encoder(**load_config(f"{CONFIGS}/text_encoder.py:nano").model))
    assert sum(p.size for p in jax.tree.leaves(params)) <= 500_000


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(ValueError, match="'huge'.*nano, xl"):
        load_config(f"{CONFIGS}/text_encoder.py:huge")
