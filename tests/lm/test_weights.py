"""Published text language models: equality with another implementation, and no tensor lost or made up."""

import functools
import json
import math
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from videopoet_jax.lm import weights
from videopoet_jax.lm.language_model import init_params
from videopoet_jax.lm.logits import special_text_logits
from videopoet_jax.lm.transformer import PrefixLM, whole_sequence
from videopoet_jax.parallel import abstract
from videopoet_jax.pretrained import files

SHARED = dict(
    vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=16,
    max_position_embeddings=256, tie_word_embeddings=True,
)  # fmt: skip
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)  # fmt: skip
HF = {  # as config.json has it
    "llama": dict(num_key_value_heads=2, hidden_act="silu", rms_norm_eps=1e-5, rope_theta=500.0, rope_scaling=LLAMA3,
                  tie_word_embeddings=False),
    "gemma": dict(num_key_value_heads=1, hidden_act="gelu", hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
                  rope_theta=10_000.0),
    "qwen3": dict(num_key_value_heads=2, hidden_act="silu", rms_norm_eps=1e-6, rope_theta=1e6),
}  # fmt: skip
CLASSES = {family: f"{family.capitalize()}ForCausalLM" for family in HF}
OURS = dict(
    visual_codes=16, audio_levels=1, visual_factors=2, chain_hidden=8, text_dim=6, place_embedding=True, modalities=16,
    place_octaves=(6, 2, 2), unroll=1, remat="none", dtype="float32",
)  # fmt: skip
REFERENCE = Path(__file__).with_name("text_lm_reference.npz")  # made by `python tests/lm/test_weights.py`
IDS = np.random.default_rng(1).integers(0, 90, (2, 60))


def config_of(family: str, **changes) -> dict:
    return {"model_type": family, "architectures": [CLASSES[family]], **SHARED, **HF[family], **changes}


def model_of(family: str, **changes) -> PrefixLM:
    return PrefixLM(**OURS, **weights.fields_from_huggingface(config_of(family)) | changes)


def random_tensors(family: str) -> dict[str, np.ndarray]:
    model, rng = model_of(family), np.random.default_rng(0)
    shapes = weights.shapes(model, {"text_pieces": SHARED["vocab_size"]})
    names = weights.NAMES | (weights.QK_NORMS if model.qk_norm else {}) | {"text": weights.EMBEDDING}
    names |= {} if config_of(family)["tie_word_embeddings"] else {"scores": weights.HEAD}
    each = {theirs.format(i=i): ours for ours, theirs in names.items() for i in range(2 if "{i}" in theirs else 1)}
    centre = {name: float("norm" in name and family != "gemma") for name in each}
    return {name: rng.normal(centre[name], 0.2, shapes[ours]).astype(np.float32) for name, ours in each.items()}


def write(folder: Path, family: str, tensors=None, **config) -> Path:
    """A directory as Hugging Face publishes them."""
    save_file(random_tensors(family) if tensors is None else tensors, folder / files.WEIGHTS)
    (folder / files.CONFIG).write_text(json.dumps(config_of(family, **config)))
    return folder


def as_text(pieces: np.ndarray) -> dict[str, np.ndarray]:
    """A batch whose rows are text alone, of which every position sees those before it."""
    shape = pieces.shape
    positions = np.zeros((*shape, 4), np.int32)
    positions[..., 0], positions[..., 3] = np.arange(shape[1]), 13
    return {"ids": 266_496 + pieces.astype(np.int32), "table": np.zeros(shape, np.int32), "positions": positions,
            "prefix_length": np.zeros(shape[0], np.int32), "valid": np.ones(shape, bool)}  # fmt: skip


@functools.partial(jax.jit, static_argnums=0)
def text_logits(model: PrefixLM, params, batch):
    tokens = whole_sequence(batch, jnp.zeros((2, 1, model.text_dim)), jnp.ones((2, 1), bool))
    hidden, _ = model.apply({"params": params}, tokens)
    rows = model.vocabulary.special_text_rows
    return special_text_logits(params["output"], hidden, rows)[..., 256:rows]


def transformers_logits(family: str) -> np.ndarray:
    """What Hugging Face's PyTorch model makes of `random_tensors`."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = config_of(family)
    config = getattr(transformers, f"{family.capitalize()}Config")(**config, attn_implementation="eager")
    reference = getattr(transformers, CLASSES[family])(config).eval()
    tensors = {name: torch.tensor(value) for name, value in random_tensors(family).items()}
    missing, unexpected = reference.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) <= {weights.HEAD}  # where it is the embedding
    reference.tie_weights()
    with torch.no_grad():
        return reference(torch.tensor(IDS)).logits.numpy()


@pytest.fixture
def no_benchmarks(monkeypatch):
    """transformers imports a package that is called tokenizers, as a file among the benchmarks is."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).name != "benchmarks"])


@pytest.mark.parametrize("family", HF)
def test_text_has_the_logits_that_transformers_gave(family, tmp_path):
    model = model_of(family)
    params = weights.load_huggingface(write(tmp_path, family), model, jax.random.key(0))
    with np.load(REFERENCE) as reference:
        theirs = reference[family]
    assert np.std(theirs) > 0.3
    assert_allclose(text_logits(model, params, as_text(IDS))[:, ::7], theirs, atol=1e-4)


@pytest.mark.parametrize("family", HF)
def test_transformers_still_gives_them(family, no_benchmarks):
    with np.load(REFERENCE) as reference:
        assert_allclose(transformers_logits(family)[:, ::7], reference[family], atol=2e-5)


@pytest.mark.parametrize("family", HF)
def test_the_tree_is_the_models_own_and_what_is_new_is_as_wide_as_what_is_old(family, tmp_path):
    model = model_of(family)
    params = files.flatten(weights.load_huggingface(write(tmp_path, family), model, jax.random.key(0)))
    wanted = files.flatten(nn.meta.unbox(abstract(functools.partial(init_params, model))))
    assert {name: x.shape for name, x in params.items()} == {name: x.shape for name, x in wanted.items()}
    assert all(not np.any(value) for name, value in params.items() if name.startswith("positions."))
    for side in ("input", "output"):
        text = params[f"{side}.special_text"][256 : 256 + 90]
        for new in (params[f"{side}.special_text"][:256], params[f"{side}.visual"], params[f"{side}.audio"]):
            assert np.std(new) == pytest.approx(np.std(text), rel=0.1)
    again = files.flatten(weights.load_huggingface(tmp_path, model, jax.random.key(0)))
    other = files.flatten(weights.load_huggingface(tmp_path, model, jax.random.key(1)))
    assert all(np.array_equal(params[name], again[name]) for name in params)
    assert not np.array_equal(params["input.visual"], other["input.visual"])
    assert_array_equal(params["layers.attention.query"], other["layers.attention.query"])


def test_without_text_pieces_the_layers_alone_are_taken(tmp_path):
    model = model_of("llama", text_pieces=0)
    params = weights.load_huggingface(write(tmp_path, "llama"), model, jax.random.key(0))
    assert params["input"]["special_text"].shape == (256, 32)
    down = random_tensors("llama")["model.layers.1.mlp.down_proj.weight"]
    assert_array_equal(params["layers"]["mlp"]["down"][1], down.T)


def test_shards_and_newer_files_read_alike(tmp_path):
    """Two files and an index; rotary numbers in `rope_parameters`, as transformers 5 writes them."""
    tensors, model = random_tensors("llama"), model_of("llama")
    (tmp_path / "one").mkdir()
    one = weights.load_huggingface(write(tmp_path / "one", "llama"), model, jax.random.key(0))
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, tmp_path / file)
    index = {"weight_map": {name: file for file, members in shards.items() for name in members}}
    (tmp_path / files.INDEX).write_text(json.dumps(index))
    config = config_of("llama", rope_parameters={**LLAMA3, "rope_theta": 500.0})
    del config["rope_theta"], config["rope_scaling"]
    (tmp_path / files.CONFIG).write_text(json.dumps(config))
    jax.tree.map(assert_array_equal, weights.load_huggingface(tmp_path, model, jax.random.key(0)), one)


def test_published_sizes_are_those_of_the_configs():
    """The numbers of the two config.json files, as published."""
    from videopoet_jax.configs.lm import get_config

    llama = dict(vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, head_dim=64,
                 num_attention_heads=32, num_key_value_heads=8, rms_norm_eps=1e-5, hidden_act="silu",
                 rope_theta=500_000.0, rope_scaling={**LLAMA3, "factor": 32.0,
                                                     "original_max_position_embeddings": 8192})  # fmt: skip
    gemma = dict(vocab_size=256_000, hidden_size=2048, intermediate_size=16_384, num_hidden_layers=18, head_dim=256,
                 num_attention_heads=8, num_key_value_heads=1, rms_norm_eps=1e-6, hidden_act="gelu",
                 rope_theta=10_000.0)  # fmt: skip
    for name, family, config in (("llama_1b", "llama", llama), ("gemma_2b", "gemma", gemma)):
        model = PrefixLM(**get_config(name).model)
        fields = weights.fields_from_huggingface({"model_type": family, **config})
        assert {field: getattr(model, field) for field in fields} == fields


def test_missing_tensors_other_sizes_and_other_families_are_named(tmp_path):
    model, key = model_of("llama"), jax.random.key(0)
    tensors = random_tensors("llama")
    del tensors["model.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(ValueError, match="missing: model.layers.1.self_attn.k_proj.weight; unexpected: none; take a"):
        weights.load_huggingface(write(tmp_path, "llama", tensors), model, key)
    with pytest.raises(ValueError, match=r"in mlp, rotary_bases; --set model.mlp=64 --set model.rotary_bases=\(9.0,\)"):
        weights.load_huggingface(write(tmp_path, "llama", intermediate_size=64, rope_theta=9.0), model, key)
    for change, words in (
        ({"model_type": "gemma2"}, "'gemma2': no backbone of ours; take a model of llama, gemma, qwen3"),
        ({"attention_bias": True}, "attention_bias True: our layers have none"),
        ({"hidden_act": "relu"}, "hidden_act 'relu': need one of silu"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "'yarn': 'default' and 'llama3' are read"),
    ):
        with pytest.raises(ValueError, match=words):
            weights.fields_from_huggingface(config_of("llama", **change))
    config = {k: v for k, v in config_of("llama").items() if k != "hidden_size"}
    with pytest.raises(ValueError, match="lacks hidden_size: restore"):
        weights.fields_from_huggingface(config)


def test_what_is_huggingfaces_and_what_is_ours(tmp_path):
    assert weights.is_huggingface(write(tmp_path, "gemma")) and not weights.is_huggingface(files.resolve("nano", "lm"))
    assert weights.fields_from_huggingface(config_of("gemma"))["embedding_scale"] == math.sqrt(32)


if __name__ == "__main__":
    np.savez_compressed(REFERENCE, **{family: transformers_logits(family)[:, ::7] for family in HF})
