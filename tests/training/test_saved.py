"""A run's folder, looked at from outside: what is whole, what is not, and any part of any array."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_model import Mlp, new_state

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training import manifest
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.manifest import CheckpointError
from videopoet_jax.training.saved import listed, open_step


@pytest.fixture(scope="module")
def state():
    return new_state(make_mesh(fsdp=2, tensor=2), model=Mlp(width=64))


def save(workdir, state, *steps):
    with Checkpoints(workdir, max_to_keep=9) as checkpoints:
        for step in steps:
            checkpoints.save(step, state, loader_state=None, config={"model_type": "mlp", "lr": 0.1})


def test_every_folder_of_a_step_is_listed_with_what_it_is(state, tmp_path):
    assert listed(tmp_path) == []
    save(tmp_path, state, 2, 4, 6, 8)
    root = tmp_path / "checkpoints"
    cut = max((root / "00000004").rglob("d/*"), key=lambda path: path.stat().st_size)
    cut.write_bytes(cut.read_bytes()[:-1])
    (root / "00000006" / manifest.NAME).write_text("{}")
    (root / "00000008").rename(root / "00000008.damaged")
    for name in ("00000009", "00000010.orbax-checkpoint-tmp", "notes", "7.old"):
        (root / name).mkdir()
    (root / "00000011").write_text("a file")
    found = listed(tmp_path)
    states = [(2, "complete"), (4, "damaged"), (6, "damaged"), (8, "damaged"), (9, "partial"), (10, "partial")]
    assert [(one.step, one.state) for one in found] == states
    assert cut.name in found[1].problem and manifest.NAME in found[2].problem and found[3].problem == "set aside"
    files = [path for path in (root / "00000002").rglob("*") if path.is_file()]
    assert found[0].size == sum(path.stat().st_size for path in files)
    assert found[0].written == max(path.stat().st_mtime for path in files)


def test_a_step_opens_with_its_config_and_any_part_of_its_arrays(state, tmp_path):
    save(tmp_path, state, 2, 4)
    saved = open_step(tmp_path)
    assert (saved.step, saved.config) == (4, {"model_type": "mlp", "lr": 0.1})
    assert open_step(tmp_path, 2).step == 2
    for name in ("up", "down", "bias"):
        truth = np.asarray(state.params[name])
        for tree in ("params", "ema_params"):
            tensor = saved.arrays[f"{tree}.{name}"]
            assert (tensor.shape, tensor.dtype) == (truth.shape, truth.dtype)
            np.testing.assert_array_equal(np.asarray(tensor), truth)
            np.testing.assert_array_equal(tensor[2], truth[2])
            np.testing.assert_array_equal(tensor[(slice(1, 3), ...)], truth[1:3])
    assert "key" not in saved.arrays and saved.arrays["extra.calls"][...] == 0


def test_steps_that_go_while_they_are_looked_at_are_gone(state, tmp_path, monkeypatch):
    """A folder is removed as soon as its n-th file is looked at, whichever that is."""
    look = Path.stat

    def prunes_at(count):
        looked = []

        def stat(path, **options):
            if "00000004" in path.parts:
                looked.append(path)
                if len(looked) == count:
                    shutil.rmtree(tmp_path / "run" / "checkpoints" / "00000004")
            return look(path, **options)

        return stat

    save(tmp_path / "whole", state, 4, 6)
    for count in (1, 2, 3, 5, 8):
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", prunes_at(count))
            assert [(one.step, one.state) for one in listed(tmp_path / "run")] == [(6, "complete")]
        assert not (tmp_path / "run" / "checkpoints" / "00000004").exists()
        shutil.rmtree(tmp_path / "run")


def test_a_step_that_goes_while_it_is_read_is_told(state, tmp_path, monkeypatch):
    save(tmp_path, state, 4)
    saved, words = open_step(tmp_path), "00000004: its run has removed it meanwhile; take a newer step"
    verify = manifest.verify

    def removed_before(folder):
        folder.rename(folder.with_name("00000004.removed"))
        return verify(folder)

    monkeypatch.setattr(manifest, "verify", removed_before)
    with pytest.raises(CheckpointError, match=words):
        open_step(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        saved.arrays["params.up"][...]


def test_what_is_stacked_lies_on_disk_layer_by_layer(tmp_path):
    import tensorstore

    whole = {"layers": {"up": jax.numpy.ones((6, 8, 4)), "scale": jax.numpy.ones(6)}, "table": jax.numpy.ones((8, 4))}
    save(tmp_path, whole, 1)
    chunks = {}
    for name in ("layers.up", "layers.scale", "table"):
        store = {"driver": "ocdbt", "base": (tmp_path / "checkpoints/00000001/state").as_uri(), "path": f"{name}/"}
        array = tensorstore.open({"driver": "zarr", "kvstore": store}, read=True, open=True).result()
        chunks[name] = array.chunk_layout.read_chunk.shape
    assert chunks == {"layers.up": (1, 8, 4), "layers.scale": (6,), "table": (8, 4)}


@pytest.mark.parametrize(
    ("step", "words"),
    [(None, "no finished step"), (3, "step 3: not in .*; its steps are none"), (5, "no manifest.json")],
)
def test_steps_that_are_not_there_are_told(tmp_path, step, words):
    (tmp_path / "checkpoints" / "00000005").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=words):
        open_step(tmp_path, step)


def test_a_damaged_step_is_not_opened(state, tmp_path):
    save(tmp_path, state, 2)
    path = max((tmp_path / "checkpoints" / "00000002").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert [one.state for one in listed(tmp_path)] == ["complete"]  # of the right size
    with pytest.raises(CheckpointError, match=path.name):
        open_step(tmp_path)
