"""T5X's checkpoints: written here as T5X writes them, they load to the very parameters of Hugging Face's file."""

import json
import shutil
from pathlib import Path

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
import tensorstore
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from videopoet_jax.text import weights, weights_t5x
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.text.vocabulary import FILE

HF = dict(
    model_type="t5", vocab_size=400, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, layer_norm_epsilon=1e-6,
    relative_attention_num_buckets=32, relative_attention_max_distance=128, feed_forward_proj="gated-gelu",
)  # fmt: skip
CONFIG = weights.config_from_huggingface(HF)
GZIP = {"id": "gzip"}
WO = "encoder/layers_1/mlp/wo/kernel"


def random_tensors() -> dict[str, np.ndarray]:
    """What Hugging Face's file would hold."""
    rng, shapes = np.random.default_rng(0), weights.shapes(CONFIG)
    names = {t.format(i=i): o for o, t in weights.NAMES.items() for i in range(CONFIG["depth"])}
    return {t: rng.normal(0, 0.2, shapes[o]).astype(np.float32) for t, o in names.items()}


def t5x_target(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights as T5X names and turns them (Hugging Face's converter the other way round), and a decoder."""
    attention = {"q": "query", "k": "key", "v": "value", "o": "out"}
    target = {
        "token_embedder/embedding": tensors["shared.weight"],
        "encoder/encoder_norm/scale": tensors["encoder.final_layer_norm.weight"],
        "encoder/relpos_bias/rel_embedding": tensors[
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ].T,
        "decoder/logits_dense/kernel": np.zeros((64, 400), np.float32),
        "decoder/relpos_bias/rel_embedding": np.zeros((4, 32), np.float32),
    }
    for i in range(HF["num_layers"]):
        theirs, ours = f"encoder.block.{i}.layer", f"encoder/layers_{i}"
        target[f"{ours}/pre_attention_layer_norm/scale"] = tensors[f"{theirs}.0.layer_norm.weight"]
        target[f"{ours}/pre_mlp_layer_norm/scale"] = tensors[f"{theirs}.1.layer_norm.weight"]
        for q, query in attention.items():
            target[f"{ours}/attention/{query}/kernel"] = tensors[f"{theirs}.0.SelfAttention.{q}.weight"].T
        for w in ("wi_0", "wi_1", "wo"):
            target[f"{ours}/mlp/{w}/kernel"] = tensors[f"{theirs}.1.DenseReluDense.{w}.weight"].T
    return target


def write(folder: Path, target: dict, pieces, *, outside=lambda name: False, compressor=GZIP) -> Path:
    """A checkpoint as `Checkpointer.save` writes it; the arrays for which `outside(name)` holds as Zarr folders."""
    folder.mkdir(exist_ok=True)
    flat = {f"target/{name}": array for name, array in target.items()}
    leaves = {"state/step": np.asarray(7, np.int32)}
    for name, array in flat.items():
        array = np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array
        leaves[name] = zarr(folder, name, array, compressor) if outside(name.removeprefix("target/")) else array
    tree = {"version": 3, "optimizer": weights.files.unflatten({n.replace("/", "."): x for n, x in leaves.items()})}
    (folder / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(tree))
    pieces.save(folder / FILE)
    return folder


def zarr(folder: Path, name: str, array: np.ndarray, compressor: dict | None) -> dict:
    """Writes the array in two chunks and returns the reference to it."""
    path = f"{name.replace('/', '.')}/"
    chunks = [array.shape[0] // 2, *array.shape[1:]]
    metadata = {"compressor": compressor, "shape": list(array.shape), "chunks": chunks}
    spec = {"driver": "zarr", "dtype": array.dtype.name, "metadata": metadata}
    kvstore = {"driver": "file", "path": f"{folder}/{path}"}
    tensorstore.open({**spec, "kvstore": kvstore}, create=True, open=True).result().write(array).result()
    return {**spec, "kvstore": {"driver": "gfile", "path": path}}


def matrices(name: str) -> bool:
    return "norm" not in name


@pytest.fixture(scope="module")
def huggingface(pieces, tmp_path_factory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("huggingface")
    save_file(random_tensors(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(HF))
    pieces.save(folder / FILE)
    return TextEncoder.from_pretrained(folder)


@pytest.fixture
def target() -> dict[str, np.ndarray]:
    return t5x_target(random_tensors())


@pytest.mark.parametrize(
    ("outside", "compressor"),
    [(matrices, GZIP), (matrices, None), (lambda name: False, None), (lambda name: "mlp" in name, GZIP)],
    ids=["gzip", "plain", "all inside", "some inside"],
)
def test_equal_to_the_safetensors_of_the_same_weights(huggingface, target, pieces, tmp_path, outside, compressor):
    encoder = TextEncoder.from_pretrained(write(tmp_path, target, pieces, outside=outside, compressor=compressor))
    assert encoder.config == huggingface.config
    jax.tree.map(assert_array_equal, encoder.params, huggingface.params)
    tokens = encoder.tokenize(["a red 3 moving left", "two horses"], 12)
    ours, theirs = (np.asarray(e.embed(tokens.ids, tokens.mask)) for e in (encoder, huggingface))
    assert_array_equal(ours, theirs)
    assert np.std(ours) > 0.1


def test_it_becomes_a_directory_of_ours(huggingface, target, pieces, tmp_path):
    encoder = TextEncoder.from_pretrained(write(tmp_path / "t5x", target, pieces, outside=matrices))
    encoder.save_pretrained(tmp_path / "ours", "float32")
    jax.tree.map(assert_array_equal, TextEncoder.from_pretrained(tmp_path / "ours").params, huggingface.params)


def test_bfloat16_stays_as_it_is(target, pieces, tmp_path):
    halves = {name: array.astype(ml_dtypes.bfloat16) for name, array in target.items()}
    directory = write(tmp_path, halves, pieces, outside=lambda name: name.endswith("kernel"))
    for dtype in ("bfloat16", "float32"):
        params = TextEncoder.from_pretrained(directory, dtype).params
        assert {p.dtype.name for p in jax.tree.leaves(params)} == {dtype}
        assert_array_equal(params["layers"]["mlp"]["down"][1], halves[WO].astype(dtype))
        assert_array_equal(params["embedding"], halves["token_embedder/embedding"].astype(dtype))


def test_the_decoder_is_not_opened(huggingface, target, pieces, tmp_path):
    directory = write(tmp_path, target, pieces, outside=matrices)
    folders = list(directory.glob("target.decoder.*"))
    assert len(folders) == 2
    for folder in folders:
        shutil.rmtree(folder)
    jax.tree.map(assert_array_equal, TextEncoder.from_pretrained(directory).params, huggingface.params)


def test_a_reference_leads_nowhere_else(huggingface, target, pieces, tmp_path):
    directory = write(tmp_path / "t5x", target, pieces, outside=lambda name: name == WO)
    tree = flax.serialization.msgpack_restore((directory / "checkpoint").read_bytes())
    reference = tree["optimizer"]["target"]["encoder"]["layers_1"]["mlp"]["wo"]["kernel"]
    reference["kvstore"] = {"driver": "http", "base_url": "http://127.0.0.1:1/"}
    (directory / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(tree))
    jax.tree.map(assert_array_equal, TextEncoder.from_pretrained(directory).params, huggingface.params)


def test_a_config_beside_it_must_agree(target, pieces, tmp_path):
    directory = write(tmp_path, target, pieces)
    for change, words in (
        ({}, None),
        ({"d_kv": 8}, "config.json: head_width is 8, the arrays of .*checkpoint say 16; take the config.json of this"),
        ({"feed_forward_proj": "gated-silu"}, "'gated-silu': 'gated-gelu' is needed"),
    ):
        (directory / "config.json").write_text(json.dumps({**HF, **change}))
        if words is None:
            assert TextEncoder.from_pretrained(directory).config["head_width"] == 16
        else:
            with pytest.raises(ValueError, match=words):
                TextEncoder.from_pretrained(directory)


def refused(directory: Path, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        TextEncoder.from_pretrained(directory)
    assert "\n" not in str(error.value)


def test_damaged_folders_are_refused(target, pieces, tmp_path):
    whole = write(tmp_path / "whole", target, pieces, outside=matrices)
    folder = f"target.{WO.replace('/', '.')}"

    def damaged(change) -> Path:
        copy = tmp_path / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        change(copy / folder)
        return copy

    def metadata(**changes):
        def change(path: Path) -> None:
            file = path / ".zarray"
            file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

        return change

    for change, words in (
        (shutil.rmtree, rf"{folder}/.zarray: no such file, and .*checkpoint refers to it; copy the whole"),
        (lambda p: (p / "1.0").unlink(), rf"{folder}: NOT_FOUND: chunk .1, 0. .* is missing; copy the whole"),
        (lambda p: (p / "1.0").write_bytes((p / "1.0").read_bytes()[:50]), rf"{folder}: .*Not enough data.*; copy"),
        (lambda p: (p / ".zarray").write_text("{"), rf"{folder}/.zarray: .*Invalid JSON; copy the whole"),
        (metadata(shape=[192, 64]), rf"{WO}: shape \(192, 64\), the other sizes ask for \(96, 64\); take all files"),
        (metadata(shape=[2**40, 64]), rf"{folder}/.zarray: shape .* no array of a T5; copy the whole"),
        (metadata(chunks=[2**40, 64]), rf"{folder}/.zarray: shape .* in chunks of \(1099511627776, 64\)"),
        (metadata(dtype="<u2"), rf"{WO} is uint16; float32, bfloat16, float16 are read"),
        (metadata(dtype="|O"), rf"{folder}/.zarray: .*Unsupported zarr dtype"),
    ):
        refused(damaged(change), words)


def test_damaged_trees_are_refused(target, pieces, tmp_path):
    directory = write(tmp_path, target, pieces)
    file = directory / "checkpoint"
    data = file.read_bytes()
    nothing = flax.serialization.msgpack_serialize({"version": 3, "params": {}})
    deep = b"\x81\xa1a" * 5000 + b"\xc0"
    for content, words in (
        (data[: len(data) // 2], "checkpoint: no msgpack of a checkpoint .*copy the whole"),
        (deep, "checkpoint: no msgpack of a checkpoint .*copy the whole"),
        (b"\xdf\xff\xff\xff\xff", "checkpoint: no msgpack of a checkpoint .*copy the whole"),
        (b'model_checkpoint_path: "model.ckpt-1000000"', "a TensorFlow checkpoint; take T5X's of the same model"),
        (nothing, "checkpoint: no optimizer/target in it; take a checkpoint such as"),
    ):
        file.write_bytes(content)
        refused(directory, words)


def test_other_trees_are_refused(target, pieces, tmp_path):
    per_layer = "encoder/layers_1/relpos_bias/rel_embedding"
    without = {name: array for name, array in target.items() if name != WO}
    query = "encoder/layers_0/attention/query/kernel"
    for changed, words in (
        ({**target, per_layer: np.zeros((4, 32), np.float32)}, "umT5 has a table of relative biases in every layer"),
        ({**target, "encoder/encoder/relpos_bias/rel_embedding": np.zeros((4, 2, 32), np.float32)}, "umT5 has a table"),
        ({**target, "encoder/layers_0/mlp/wi/kernel": np.zeros((64, 96), np.float32)}, "T5 v1.0 has no gate"),
        (without, f"checkpoint: tensors missing: {WO}; unexpected: none; take a whole checkpoint .* of 2 layers"),
        ({**target, "encoder/extra/scale": np.zeros(64, np.float32)}, "missing: none; unexpected: encoder/extra/scale"),
        ({**target, WO: np.zeros((96, 65), np.float32)}, rf"{WO}: shape \(96, 65\), .* \(96, 64\); take all files"),
        ({**target, query: np.zeros((64, 63), np.float32)}, "queries of 63 numbers and 4 heads do not divide"),
        ({**target, WO: target[WO].astype(np.int32)}, f"{WO} is int32; float32, bfloat16, float16 are read"),
        ({**target, WO: f"PLACEHOLDER://target.{WO}"}, f"{WO} is a str, neither an array nor a reference"),
        ({"encoder/encoder_norm/scale": np.ones(64, np.float32)}, "token_embedder/embedding is missing or no matrix"),
    ):
        refused(write(tmp_path, changed, pieces), words)


def test_what_it_needs_is_named(target, pieces, tmp_path, monkeypatch):
    directory = write(tmp_path, target, pieces)
    monkeypatch.setattr(weights_t5x, "MOST_BYTES", 1000)
    refused(directory, "checkpoint: [0-9]+ bytes; at most 1000 are read")
    (directory / FILE).unlink()
    with pytest.raises(FileNotFoundError, match="spiece.model: no such vocabulary.*copy there as spiece.model gs://"):
        TextEncoder.from_pretrained(directory)
    with pytest.raises(FileNotFoundError, match="nor a directory with a config.json or a checkpoint"):
        TextEncoder.from_pretrained(tmp_path / "nothing")
