"""`TextEncoder`: what is saved is what is loaded, and a prompt means the same alone and in company."""

import json
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from numpy.testing import assert_array_equal

from videopoet_jax.parallel import make_mesh
from videopoet_jax.text import TextEncoder
from videopoet_jax.text.t5 import T5Encoder
from videopoet_jax.text.vocabulary import FILE

CONFIG = dict(
    vocabulary=400, width=32, depth=2, heads=2, head_width=16, mlp_width=64, buckets=8, max_distance=20,
    epsilon=1e-6, dtype="float32",
)  # fmt: skip
PROMPTS = ["a red 3 moving left", "", "a blue 7", "猫 " * 30, "a green 5 moving up"]


@pytest.fixture(scope="module")
def encoder(pieces):
    model = T5Encoder(**CONFIG)
    init = jax.jit(model.init)
    params = init(jax.random.key(0), np.zeros((1, 4), np.int32), np.ones((1, 4), bool))["params"]
    return TextEncoder(CONFIG, nn.meta.unbox(params), pieces)


@pytest.fixture
def saved(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "text_encoder", "float32")
    return tmp_path / "text_encoder"


def test_shapes_mask_and_truncation(encoder):
    tokens = encoder.tokenize(PROMPTS, 16)
    out = np.asarray(encoder.embed(tokens.ids, tokens.mask))
    assert out.shape == (5, 16, 32) and encoder.width == 32
    assert tokens.truncated.tolist() == [False, False, False, True, False]
    assert (out[~tokens.mask] == 0).all() and (out[tokens.mask] != 0).any(-1).all()
    assert encoder.embed(tokens.ids[:0], tokens.mask[:0]).shape == (0, 16, 32)


@pytest.mark.parametrize("rows", [1, 4])
def test_alone_and_in_company_bit_for_bit(encoder, rows):
    tokens = encoder.tokenize(PROMPTS, 16)
    together = encoder.embed(tokens.ids, tokens.mask, rows=rows)
    alone = [encoder.embed(tokens.ids[i : i + 1], tokens.mask[i : i + 1], rows=rows) for i in range(len(PROMPTS))]
    assert_array_equal(together, np.concatenate(alone))


def test_saving_and_loading_change_nothing(encoder, saved):
    loaded = TextEncoder.from_pretrained(saved)
    whole = TextEncoder.from_pretrained(saved.parent.joinpath("text_encoder"))
    jax.tree.map(assert_array_equal, loaded.params, encoder.params)
    tokens = encoder.tokenize(PROMPTS, 16)
    for other in (loaded, whole):
        assert_array_equal(other.tokenize(PROMPTS, 16).ids, tokens.ids)
        assert_array_equal(other.embed(tokens.ids, tokens.mask), encoder.embed(tokens.ids, tokens.mask))
    again = saved.parent / "again"
    loaded.save_pretrained(again, "float32")
    for file in ("config.json", "model.safetensors", FILE):
        assert (again / file).read_bytes() == (saved / file).read_bytes()


def test_a_pipeline_directory_finds_its_text_encoder(encoder, saved):
    (saved.parent / "config.json").write_text(json.dumps({"model_type": "videopoet", "version": 1}))
    assert TextEncoder.from_pretrained(saved.parent).config == encoder.config


def test_on_a_mesh_the_weights_are_split_and_the_answer_is_the_same(encoder, saved):
    mesh = make_mesh(data=1, fsdp=4, tensor=2)
    loaded = TextEncoder.from_pretrained(saved, mesh=mesh)
    assert loaded.params["layers"]["mlp"]["up"].sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    tokens = encoder.tokenize(PROMPTS, 16)
    with jax.set_mesh(mesh):
        out = loaded.embed(tokens.ids, tokens.mask, rows=4)
    np.testing.assert_allclose(out, encoder.embed(tokens.ids, tokens.mask), atol=1e-5)


def test_files_that_do_not_belong_together_are_refused(encoder, saved, retrain, tmp_path):
    other = tmp_path / "other"
    retrain(other, size=390)
    shutil.copy(saved / FILE, tmp_path / "kept")
    shutil.copy(other / FILE, saved / FILE)
    with pytest.raises(ValueError, match="SHA-256.*restore the file"):
        TextEncoder.from_pretrained(saved)
    shutil.copy(tmp_path / "kept", saved / FILE)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "mlp_width": 65}))
    with pytest.raises(ValueError, match="do not fit the config.*mlp"):
        TextEncoder.from_pretrained(saved)
    (saved / "config.json").write_text(json.dumps({**config, "wdith": 32}))
    with pytest.raises(ValueError, match="unknown keys .'wdith'"):
        TextEncoder.from_pretrained(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        TextEncoder.from_pretrained(saved)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TextEncoder.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="400 pieces.*200 rows"):
        TextEncoder({**CONFIG, "vocabulary": 200}, encoder.params, encoder.pieces)
