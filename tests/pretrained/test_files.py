"""Model directories: what is written is read back, and nothing else is accepted."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from videopoet_jax.pretrained import digest, files, load_params, read_config, resolve, save_params, write_config

TREE = {"encoder": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.float32)}}}


@pytest.fixture
def saved(tmp_path):
    write_config(tmp_path, "video_tokenizer", {"code_bits": 18, "patch": (1, 4, 4)})
    save_params(tmp_path, TREE, dtype="float32")
    return tmp_path


def test_a_saved_tree_is_read_back_exactly(saved):
    kernel = load_params(saved)["encoder"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, TREE["encoder"]["conv"]["kernel"])
    assert read_config(saved, "video_tokenizer", ["code_bits", "patch"]) == {"code_bits": 18, "patch": [1, 4, 4]}


def test_bfloat16_halves_the_bytes_and_keeps_integers_and_tables_of_codes(tmp_path):
    table = np.full(4, 1.001, np.float32)
    save_params(
        tmp_path, {"w": table, "n": np.array([2**20 + 1]), "codes": {"codebook": table}, "codebooks": {"e": table}}
    )
    tree = load_params(tmp_path, dtype=None)
    assert tree["w"].dtype.name == "bfloat16"
    assert tree["n"][0] == 2**20 + 1
    for kept in (tree["codes"]["codebook"], tree["codebooks"]["e"]):
        np.testing.assert_array_equal(kept, table)


def test_flatten_and_unflatten_are_inverse():
    assert files.unflatten(files.flatten({"a": {"b": 1, "c": {"d": 2}}})) == {"a": {"b": 1, "c": {"d": 2}}}
    with pytest.raises(ValueError, match="no dot"):
        files.flatten({"a.b": 1})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "lm"}, "model_type is 'lm'"),
        ({"version": 99}, "version is 99"),
        ({"colour": 1}, r"unknown keys \['colour'\]"),
    ],
)
def test_a_foreign_config_is_refused(saved, change, words):
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=words):
        read_config(saved, "video_tokenizer", ["code_bits", "patch"])


def test_a_missing_key_is_named(saved):
    with pytest.raises(ValueError, match=r"missing keys \['groups'\]"):
        read_config(saved, "video_tokenizer", ["code_bits", "patch", "groups"])


def test_damaged_weights_are_refused(saved):
    path = saved / "model.safetensors"
    path.write_bytes(b"\x80\x04 not a header " + path.read_bytes()[20:])
    with pytest.raises(ValueError, match="not a valid safetensors"):
        load_params(saved)


def test_shards_are_joined_and_may_not_leave_the_directory(saved):
    from safetensors.numpy import save_file

    (saved / "model.safetensors").unlink()
    flat = files.flatten(TREE)
    names = {key: f"model-0000{i + 1}-of-00002.safetensors" for i, key in enumerate(flat)}
    for key, name in names.items():
        save_file({key: flat[key]}, saved / name)
    index = saved / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    np.testing.assert_array_equal(load_params(saved)["encoder"]["conv"]["bias"], np.ones(3))
    for damaged in ('{"weight_map": {"a": "../model.safetensors"}}', '{"weight_map": {"a": "gone"}}', "{}", "{bad"):
        index.write_text(damaged)
        with pytest.raises(ValueError, match="copy the directory again"):
            load_params(saved)


def test_the_digest_changes_with_one_bit(saved):
    before = digest(saved)
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert digest(saved) != before


def test_an_unknown_name_says_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a shipped model"):
        resolve(tmp_path / "nothing")


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_atomically(tmp_path / "x.bin", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_name_stands_for_bytes_that_are_on_the_disk(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")) or sync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, to: done.append(f"renamed {self}") or replace(self, to))
    files.write_atomically(tmp_path / "x.bin", lambda path: path.write_bytes(b"whole"))
    temporary, renamed, folder = done
    assert renamed == f"renamed {temporary}" and folder == str(tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == b"whole"


def test_a_directory_that_is_not_there_is_called_that(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such directory; give one that save_pretrained wrote"):
        digest(tmp_path / "none")
