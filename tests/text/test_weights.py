"""Published T5 v1.1 and mT5 weights: equality with another implementation, and no tensor lost or made up."""

import json
import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from videopoet_jax.pretrained.files import Stored
from videopoet_jax.text import weights
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.text.t5 import T5Encoder, relative_buckets
from videopoet_jax.text.vocabulary import FILE

HF = dict(
    vocab_size=400, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, relative_attention_num_buckets=32,
    relative_attention_max_distance=128, layer_norm_epsilon=1e-6, feed_forward_proj="gated-gelu",
)  # fmt: skip
CONFIG = weights.config_from_huggingface(HF)


def random_tensors() -> dict[str, np.ndarray]:
    rng, shapes = np.random.default_rng(0), weights.shapes(CONFIG)
    names = {t.format(i=i): o for o, t in weights.NAMES.items() for i in range(CONFIG["depth"])}
    return {t: rng.normal(0, 0.2, shapes[o]).astype(np.float32) for t, o in names.items()}


def converted(tensors: dict[str, np.ndarray]) -> dict:
    shapes = {name: np.shape(tensor) for name, tensor in tensors.items()}
    return weights.params_from_huggingface(Stored(Path("t5"), shapes, tensors.__getitem__), CONFIG)


def write(folder: Path, tensors: dict[str, np.ndarray], pieces, **config) -> Path:
    """A directory as Hugging Face publishes them."""
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", **HF, **config}))
    pieces.save(folder / FILE)
    return folder


def run(params: dict, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(T5Encoder(**CONFIG, dtype="float32").apply)({"params": params}, ids, mask))


def transformers_output(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What Hugging Face's PyTorch encoder makes of `random_tensors()`."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    reference = transformers.T5EncoderModel(transformers.T5Config(**HF, dropout_rate=0.0)).eval()
    tensors = {name: torch.tensor(value) for name, value in random_tensors().items()}
    missing, unexpected = reference.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight"}  # the same tensor by another name
    reference.tie_weights()
    with torch.no_grad():
        attention = torch.tensor(mask.astype(np.int64))
        return reference(torch.tensor(ids), attention_mask=attention).last_hidden_state.numpy()


IDS = np.random.default_rng(1).integers(3, 400, (3, 150))
MASK = np.arange(150)[None] < np.array([[150], [7], [1]])
REFERENCE = Path(__file__).with_name("t5_reference.npz")  # made by `python tests/text/test_weights.py`


@pytest.fixture
def no_benchmarks(monkeypatch):
    """transformers imports a package that is called tokenizers, as a file among the benchmarks is."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).name != "benchmarks"])


def test_equal_to_what_transformers_gave():
    ours = run(converted(random_tensors()), IDS.astype(np.int32), MASK)
    with np.load(REFERENCE) as reference:
        theirs = reference["output"]
    assert np.std(theirs) > 0.1
    assert_allclose(ours[MASK][::10], theirs, atol=2e-5)


def test_equal_to_transformers(no_benchmarks):
    theirs = transformers_output(IDS, MASK)
    with np.load(REFERENCE) as reference:
        assert_allclose(theirs[MASK][::10], reference["output"], atol=2e-5)


def test_buckets_equal_to_transformers(no_benchmarks):
    torch = pytest.importorskip("torch")
    attention = pytest.importorskip("transformers.models.t5.modeling_t5").T5Attention
    relative = torch.arange(600)[None, :] - torch.arange(600)[:, None]
    for buckets, distance in ((32, 128), (16, 40)):
        theirs = attention._relative_position_bucket(relative, True, buckets, distance).numpy()
        assert_array_equal(relative_buckets(600, buckets=buckets, max_distance=distance), theirs)


def test_every_tensor_is_accounted_for():
    tensors = random_tensors()
    tree = converted(tensors)
    assert tree["layers"]["attention"]["query"].shape == (2, 64, 4, 16)
    wo = tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    assert_array_equal(tree["layers"]["mlp"]["down"][1], wo.T)
    extra = {**tensors, "encoder.block.2.layer.0.layer_norm.weight": np.ones(64, np.float32)}
    with pytest.raises(ValueError, match="missing: none; unexpected: encoder.block.2.layer.0.layer_norm.weight"):
        converted(extra)
    del tensors["encoder.block.1.layer.0.SelfAttention.k.weight"]
    with pytest.raises(ValueError, match="missing: encoder.block.1.layer.0.SelfAttention.k.weight; unexpected: none"):
        converted(tensors)


def test_the_decoder_is_left_out_and_a_second_embedding_must_agree():
    tensors = random_tensors()
    full = {**tensors, "decoder.block.0.anything": np.ones(1), "lm_head.weight": np.ones((400, 64))}
    full[weights.COPY] = tensors["shared.weight"]
    assert_array_equal(converted(full)["embedding"], tensors["shared.weight"])
    del full["shared.weight"]
    assert_array_equal(converted(full)["embedding"], tensors["shared.weight"])
    with pytest.raises(ValueError, match="differs from shared.weight"):
        converted({**tensors, weights.COPY: tensors["shared.weight"] + 1})


def test_wrong_shapes_and_other_t5s_are_refused():
    tensors = random_tensors()
    tensors["encoder.final_layer_norm.weight"] = np.ones(65, np.float32)
    with pytest.raises(ValueError, match=r"final_layer_norm.weight: shape \(65,\).*\(64,\)"):
        converted(tensors)
    for change, words in (
        ({"feed_forward_proj": "relu"}, "'relu': T5 v1.0 has no gate.*take a T5 v1.1, Flan-T5 or mT5"),
        ({"feed_forward_proj": "gated-silu"}, "'gated-silu': 'gated-gelu' is needed"),
        ({"model_type": "umt5"}, "umT5 has a table of relative biases in every layer.*take a T5 v1.1"),
    ):
        with pytest.raises(ValueError, match=words):
            weights.config_from_huggingface({**HF, **change})
    with pytest.raises(ValueError, match="lacks d_kv"):
        weights.config_from_huggingface({k: v for k, v in HF.items() if k != "d_kv"})


def test_a_sharded_checkpoint_directory_loads(pieces, tmp_path):
    tensors = random_tensors()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, tmp_path / file)
    index = {"weight_map": {name: file for file, members in shards.items() for name in members}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **HF, "architectures": ["T5EncoderModel"]}))
    pieces.save(tmp_path / FILE)
    encoder = TextEncoder.from_pretrained(tmp_path)
    tokens = encoder.tokenize(["a red 3 moving left"], 12)
    direct = run(converted(tensors), tokens.ids, tokens.mask)
    assert_allclose(np.asarray(encoder.embed(tokens.ids, tokens.mask))[tokens.mask], direct[tokens.mask], atol=1e-5)


def test_mt5_loads_by_the_same_rules_and_umt5_does_not(pieces, tmp_path):
    encoder = TextEncoder.from_pretrained(write(tmp_path, random_tensors(), pieces, model_type="mt5"), "float32")
    jax.tree.map(assert_array_equal, encoder.params, converted(random_tensors()))
    with pytest.raises(ValueError, match="model_type 'umt5'.*every layer"):
        TextEncoder.from_pretrained(write(tmp_path, random_tensors(), pieces, model_type="umt5"))


def test_bfloat16_weights_stay_as_they_are(pieces, tmp_path):
    tensors = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in random_tensors().items()}
    directory = write(tmp_path, tensors, pieces)
    exact = converted(tensors)
    for dtype in ("bfloat16", "float32"):
        params = TextEncoder.from_pretrained(directory, dtype).params
        assert {p.dtype.name for p in jax.tree.leaves(params)} == {dtype}
        jax.tree.map(lambda ours, file: assert_array_equal(np.asarray(ours), file.astype(ours.dtype)), params, exact)


def test_the_vocabulary_of_another_model_is_refused(pieces, tmp_path):
    tensors = random_tensors()
    tensors["shared.weight"] = np.zeros((400 + 256, 64), np.float32)
    with pytest.raises(ValueError, match="400 pieces, the weights have 656 rows.*mc4.250000.100extra"):
        TextEncoder.from_pretrained(write(tmp_path, tensors, pieces, vocab_size=656))
    (tmp_path / FILE).unlink()
    with pytest.raises(FileNotFoundError, match="spiece.model: no such vocabulary.*gs://t5-data/vocabs/cc_all.32000"):
        TextEncoder.from_pretrained(tmp_path)


def test_a_decoder_is_not_read(pieces, tmp_path):
    write(tmp_path, {**random_tensors(), "decoder.x": np.ones(3, np.float32), "lm_head.weight": np.ones(3)}, pieces)
    stored, read = weights.files.open_params(tmp_path), []
    watched = stored._replace(read=lambda name: read.append(name) or stored.read(name))
    weights.params_from_huggingface(watched, CONFIG)
    assert sorted(read) == sorted(random_tensors())


if __name__ == "__main__":
    np.savez_compressed(REFERENCE, output=transformers_output(IDS, MASK)[MASK][::10])
