"""Models in shards and layer by layer: read back exactly, in memory that one shard bounds, and never half-written."""

import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from videopoet_jax.lm.language_model import LanguageModel
from videopoet_jax.parallel import make_mesh
from videopoet_jax.pretrained import load_params, open_tree, resolve
from videopoet_jax.pretrained.files import INDEX, WEIGHTS, flatten, weight_files
from videopoet_jax.pretrained.saving import as_bytes, save_params

TREE = {
    "layers": {"mlp": {"up": np.arange(11 * 6, dtype=np.float32).reshape(11, 2, 3)}},
    "norm": {"scale": np.ones(3, np.float32)},
    "steps": np.array(7),
}


def assert_same(one, other):
    one, other = flatten(one), flatten(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        value, same = np.asarray(value), np.asarray(other[name])
        assert value.dtype == same.dtype
        np.testing.assert_array_equal(value, same, err_msg=name)


def test_layers_are_stored_one_by_one_and_read_as_one(tmp_path):
    save_params(tmp_path, TREE, "float32")
    names = load_file(tmp_path / WEIGHTS)
    assert set(names) == {*(f"layers.{i}.mlp.up" for i in range(11)), "norm.scale", "steps"}
    np.testing.assert_array_equal(names["layers.10.mlp.up"], TREE["layers"]["mlp"]["up"][10])
    assert_same(load_params(tmp_path, None), TREE)


def test_shards_are_hugging_faces_and_no_larger_than_asked(tmp_path):
    save_params(tmp_path, TREE, "float32", max_shard_size=60)
    index = json.loads((tmp_path / INDEX).read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert shards == [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*shards, INDEX]
    held = {name: load_file(tmp_path / name) for name in shards}
    assert all(sum(a.nbytes for a in arrays.values()) <= 60 for arrays in held.values())
    assert index["weight_map"] == {name: shard for shard, arrays in held.items() for name in arrays}
    assert index["metadata"]["total_size"] == sum(a.nbytes for arrays in held.values() for a in arrays.values())
    assert index["weight_map"]["layers.2.mlp.up"] <= index["weight_map"]["layers.10.mlp.up"]
    assert_same(load_params(tmp_path, None), TREE)


def test_the_same_tree_gives_the_same_bytes_from_arrays_of_any_kind(tmp_path):
    save_params(tmp_path / "numpy", TREE, max_shard_size=60)
    save_params(tmp_path / "jax", jax.tree.map(jnp.asarray, TREE), max_shard_size=60)
    save_params(tmp_path / "copied", open_tree(tmp_path / "numpy", None), max_shard_size=60)
    for path in (tmp_path / "numpy").iterdir():
        assert (tmp_path / "copied" / path.name).read_bytes() == path.read_bytes()
    floats = [flatten(load_params(tmp_path / one, "float32")) for one in ("numpy", "jax")]
    assert all(np.array_equal(floats[0][name], floats[1][name]) for name in floats[0])


def test_an_array_larger_than_a_shard_has_a_file_of_its_own(tmp_path):
    save_params(tmp_path, {"a": np.ones(100), "b": np.ones(1), "c": np.ones(1)}, None, max_shard_size=16)
    assert [sorted(load_file(path)) for path in weight_files(tmp_path)] == [["a"], ["b", "c"]]


@pytest.mark.parametrize("sizes", [(60, 10**6), (10**6, 60), (60, 90), (60, 61)])
def test_a_model_written_over_another_is_not_mixed_with_it(tmp_path, sizes):
    other = jax.tree.map(lambda x: x + 1, TREE)
    save_params(tmp_path, other, "float32", max_shard_size=sizes[0])
    save_params(tmp_path, TREE, "float32", max_shard_size=sizes[1])
    assert_same(load_params(tmp_path, None), TREE)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [p.name for p in weight_files(tmp_path)]


def test_what_fails_half_way_leaves_the_older_model_and_nothing_else(tmp_path):
    class Unreadable:
        shape, dtype = (4,), np.dtype(np.float32)

        def __array__(self, dtype=None, copy=None):
            raise OSError(5, "Input/output error")

    save_params(tmp_path, TREE, "float32", max_shard_size=60)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="Input/output"):
        save_params(tmp_path, {**TREE, "z": Unreadable()}, "float32", max_shard_size=60)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda index: index["weight_map"].pop("layers.3.mlp.up"), "layers.mlp.up: of its layers .* one is missing"),
        (lambda index: index["weight_map"].update({"norm.scale": WEIGHTS}), "not in the directory"),
        (lambda index: index["weight_map"].update({"extra": index["weight_map"]["norm.scale"]}), "'extra' is not in"),
        (lambda index: index["weight_map"].update({"norm.scale": 7}), "names no shards"),
    ],
)
def test_an_index_that_does_not_describe_its_shards_is_refused(tmp_path, damage, words):
    save_params(tmp_path, TREE, "float32", max_shard_size=60)
    index = json.loads((tmp_path / INDEX).read_text())
    damage(index)
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=words):
        load_params(tmp_path)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2_000_000_000), ("1.5 mb", 1_500_000), ("1MiB", 1_048_576), ("77", 77), (77, 77)]
)
def test_sizes_of_shards(text, size):
    assert as_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "GB", "-1GB", "5 apples", "1e9", "inf"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=re.escape(f"max_shard_size {text!r}: a number of bytes is needed")):
        as_bytes(text)


def test_parts_of_stacks_are_read_as_numpy_would(tmp_path):
    save_params(tmp_path, TREE, "float32", max_shard_size=60)
    tensor, truth = open_tree(tmp_path, None)["layers"]["mlp"]["up"], TREE["layers"]["mlp"]["up"]
    assert (tensor.shape, tensor.dtype, tensor.ndim) == (truth.shape, truth.dtype, 3)
    everything = slice(None)
    for part in (3, ..., (slice(2, 9), everything, slice(1, 2)), (everything, slice(0, 1), everything), (slice(4, 5),)):
        np.testing.assert_array_equal(tensor[part], truth[part])


def test_the_shipped_stacks_and_an_export_by_layers_are_one_model_on_every_mesh(tmp_path):
    """The weights that ship hold stacks; what is saved of them holds layers."""
    shipped = LanguageModel.from_pretrained("nano")
    shipped.save_pretrained(tmp_path, "bfloat16", max_shard_size="1MB")
    assert "layers.mlp.up" in load_file(resolve("nano") / "lm" / WEIGHTS)
    assert "layers.4.mlp.up" in json.loads((tmp_path / INDEX).read_text())["weight_map"]
    assert_same(load_params(tmp_path, None), load_params(resolve("nano") / "lm", None))
    for mesh in (None, make_mesh(), make_mesh(data=2, fsdp=2, tensor=2)):
        loaded = [LanguageModel.from_pretrained(model, mesh=mesh).params for model in ("nano", tmp_path)]
        assert_same(*loaded)
        assert_same(loaded[0], shipped.params)
        if mesh:
            assert loaded[1]["layers"]["mlp"]["up"].sharding == loaded[0]["layers"]["mlp"]["up"].sharding


def test_a_mesh_reads_from_the_files_what_its_devices_hold(tmp_path, monkeypatch):
    """On `fsdp`, half of a matrix each: no array is read whole."""
    LanguageModel.from_pretrained("nano").save_pretrained(tmp_path, "float32")
    parts, tree = [], open_tree(tmp_path)
    tensor = tree["layers"]["mlp"]["up"]

    def read(part):
        parts.append(part)
        return tensor[part]

    tree["layers"]["mlp"]["up"] = type(tensor)(tensor.shape, tensor.dtype, read)
    monkeypatch.setattr("videopoet_jax.lm.language_model.open_tree", lambda directory, dtype: tree)
    lm = LanguageModel.from_pretrained(tmp_path, mesh=make_mesh(fsdp=2, tensor=2, data=2))
    assert lm.params["layers"]["mlp"]["up"].shape == tensor.shape
    sizes = {tensor[part].size for part in parts}
    assert sizes == {np.prod(tensor.shape) // 4}


BIG = """
import resource, sys
import numpy as np
from videopoet_jax.pretrained import open_tree, save_params
from videopoet_jax.pretrained.tensors import Tensor
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
out, size, source = sys.argv[1], sys.argv[2], sys.argv[3:]
if source:
    tree = open_tree(source[0], None)
else:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1024, 1024)).astype(np.float32)
    tree = {"layers": {name: Tensor((24, 1024, 1024), rows.dtype, lambda layer: rows + layer) for name in "abcd"}}
before = peak()
save_params(out, tree, None, max_shard_size=size)
print(peak() - before)
"""


def test_a_model_is_saved_and_copied_in_the_memory_of_a_shard(tmp_path):
    """400 MB in shards of 20 MB."""

    def run(*arguments):
        done = subprocess.run([sys.executable, "-c", BIG, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    written = run(tmp_path / "a", "20MB")
    copied = run(tmp_path / "b", "20MB", tmp_path / "a")
    total = sum(path.stat().st_size for path in (tmp_path / "b").iterdir())
    assert total > 400e6 and len(list((tmp_path / "b").iterdir())) > 20
    assert max(written, copied) < 3 * 20e6, (written, copied)
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
