"""Files of strangers where a model's own should be: refused, nothing in them runs, nothing large is allocated."""

import json
import os
import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from videopoet_jax.pretrained import digest, load_params, read_config, save_params, write_config


class Trap:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


PICKLE = pickle.dumps({"w": np.ones(3), "trap": Trap()})


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_params("model", {"w": np.ones((2, 3), np.float32)}, None)
    write_config("model", "toy", {"width": 3})
    yield tmp_path / "model"
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_no_config(model):
    (model / "config.json").write_bytes(PICKLE)
    with pytest.raises(ValueError, match="config.json: not JSON"):
        read_config(model, "toy", ["width"])


def test_a_pickle_is_no_weights_and_no_index(model):
    (model / "model.safetensors").write_bytes(PICKLE)
    with pytest.raises(ValueError, match="model.safetensors: not a valid safetensors file"):
        load_params(model)
    (model / "model.safetensors.index.json").write_bytes(PICKLE)
    with pytest.raises(ValueError, match="names no shards"):
        load_params(model)


def test_pickles_beside_the_weights_are_not_looked_at(model):
    before = digest(model)
    for name in ("pytorch_model.bin", "model.pt", "weights.npy", "weights.npz"):
        (model / name).write_bytes(PICKLE)
    assert digest(model) == before and set(load_params(model)) == {"w"}


def header(entries, data=b"\0" * 24, size=None):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(**changed):
    return {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | changed}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10",
        header(entry(), size=1 << 62),
        header(entry(), size=10**9),
        header(entry())[:-1],
        header(entry(), data=b"\0" * 25),
        header(entry(shape=[2, 4])),
        header(entry(shape=[-2, -3])),
        header(entry(shape=[1 << 40, 1 << 40])),
        header(entry(shape=[1 << 63, 2])),
        header(entry(data_offsets=[24, 0])),
        header(entry(data_offsets=[0, 1 << 60])),
        header(entry(data_offsets=[-24, 0])),
        header({**entry(), "v": entry()["w"]}),  # the same bytes twice
        header(entry(dtype="O")),
        header([1, 2]),
        struct.pack("<Q", 4) + b"\x80\x04N." + b"\0" * 24,  # a pickle for a header
    ],
    ids=range(17),
)
def test_bad_headers_are_refused(model, data):
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="model.safetensors: not a valid safetensors file .*copy it again"):
        load_params(model)


def test_numbers_of_a_kind_that_is_not_read_are_named(model):
    text = header({"w": {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}})
    (model / "model.safetensors").write_bytes(text)
    with pytest.raises(ValueError, match="w is F8_E4M3, which is not read; convert it"):
        load_params(model)


def test_the_library_writes_what_these_tests_take_apart(model):
    assert (model / "model.safetensors").read_bytes() == save({"w": np.ones((2, 3), np.float32)}, {"format": "flax"})
