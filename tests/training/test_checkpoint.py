"""A step counts only when it is finished and intact; damage is named, older steps stay, any mesh may restore."""

import os
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import Mlp, assert_same_bits, new_state, train

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training import manifest
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.manifest import CheckpointError
from videopoet_jax.training.saved import listed


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(fsdp=2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, mesh):
    """A folder with steps 4 and 8, and the state of step 8."""
    workdir = tmp_path_factory.mktemp("saved")
    return workdir, train(workdir, 8, mesh=mesh)


@pytest.fixture
def run(saved, tmp_path):
    """A copy of `saved` that a test may damage."""
    shutil.copytree(saved[0], tmp_path / "run")
    return tmp_path / "run"


def open_(workdir, max_to_keep=2):
    return Checkpoints(workdir, max_to_keep=max_to_keep)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_restores_every_bit_with_loader_state_and_config(tmp_path, mesh):
    state = new_state(mesh)
    with open_(tmp_path) as checkpoints:
        checkpoints.save(3, state, loader_state={"next_batch": 3}, config={"lr": 0.1})
        restored = checkpoints.restore(state)
    assert_same_bits(restored.state, state)
    assert (restored.step, restored.loader_state, restored.config) == (3, {"next_batch": 3}, {"lr": 0.1})
    shardings = [jax.tree.map(lambda x: x.sharding, tree) for tree in (restored.state, state)]
    assert shardings[0] == shardings[1]


@pytest.mark.parametrize("sizes", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}, {"data": 1, "tensor": 4}, {}])
def test_restores_on_another_mesh(saved, sizes):
    workdir, state = saved
    devices = jax.devices()[: int(np.prod(list(sizes.values())))]  # {}: one device
    target = new_state(make_mesh(devices, **sizes))
    with open_(workdir) as checkpoints:
        restored = checkpoints.restore(target).state
    assert_same_bits(restored, state)
    assert restored.params["up"].sharding == target.params["up"].sharding


def test_there_is_nothing_to_restore_in_a_new_folder(tmp_path, mesh):
    with open_(tmp_path) as checkpoints:
        assert checkpoints.latest() is None and checkpoints.restore(new_state(mesh)) is None


def test_empty_partial_and_foreign_folders_are_no_steps(run):
    with open_(run) as checkpoints:
        root = checkpoints.directory
        (root / "00000009").mkdir()
        (root / "7").mkdir()
        (root / "notes").mkdir()
        (root / "00000010").write_text("a file")
        shutil.copytree(root / "00000008", root / "00000011")
        (root / "00000011" / manifest.NAME).unlink()
        (root / "00000012.orbax-checkpoint-tmp").mkdir()
        assert checkpoints.steps() == [4, 8] and checkpoints.latest() == 8


def test_a_flipped_bit_in_any_file_is_refused_by_name(run, mesh):
    with open_(run) as checkpoints:
        folder = checkpoints.folder(8)
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        assert len(files) > 6
        for path in files:
            intact = path.read_bytes()
            flip_a_bit(path)
            with pytest.raises(CheckpointError, match=path.name):
                manifest.verify(folder)
            path.write_bytes(intact)
        manifest.verify(folder)
        flip_a_bit(max(files, key=lambda path: path.stat().st_size))
        with pytest.raises(CheckpointError, match="its sha256 is not the one it was saved with"):
            checkpoints.restore(new_state(mesh))


def test_damage_is_passed_over_only_when_told_to(run, mesh):
    with open_(run) as checkpoints:
        flip_a_bit(max(checkpoints.folder(8).glob("state/**/d/*"), key=lambda path: path.stat().st_size))
    with pytest.raises(CheckpointError):
        train(run, 12, mesh=mesh)
    resumed = train(run, 8, mesh=mesh, fallback=True)
    assert int(resumed.step) == 8
    with open_(run) as checkpoints:
        assert checkpoints.steps() == [4, 8]
        assert (checkpoints.directory / "00000008.damaged").is_dir()


@pytest.mark.parametrize("damage", ["truncate", "delete", "no manifest", "garbage manifest"])
def test_a_cut_or_missing_file_makes_the_step_before_the_newest(run, mesh, damage):
    with open_(run) as checkpoints:
        folder = checkpoints.folder(8)
        path = max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)
        path = folder / manifest.NAME if "manifest" in damage else path
        if damage == "truncate":
            path.write_bytes(path.read_bytes()[:-1])
        elif damage == "garbage manifest":
            path.write_bytes(b"[\xff]")
        else:
            path.unlink()
        with pytest.raises(CheckpointError, match=path.name):
            checkpoints.restore(new_state(mesh), 8)
        assert checkpoints.latest() == 4
        assert checkpoints.restore(new_state(mesh)).step == 4
    assert int(train(run, 8, mesh=mesh).step) == 8  # and the damaged folder is written over


class Trap:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("name", ["config/metadata", "loader/metadata", "state/_METADATA", "state/manifest.ocdbt",
                                  manifest.NAME])  # fmt: skip
def test_a_pickle_in_a_checkpoint_is_refused_and_does_not_run(run, mesh, tmp_path, monkeypatch, name):
    """Even where the manifest agrees with it, as a stranger's may."""
    monkeypatch.chdir(tmp_path)
    with open_(run) as checkpoints:
        folder = checkpoints.folder(8)
        arrays = manifest.read(folder)["arrays"]
        (folder / name).write_bytes(pickle.dumps({"config": Trap(), "state": Trap()}))
        if name != manifest.NAME:
            with pytest.raises(CheckpointError, match=name):
                manifest.verify(folder)
            manifest.write(folder, 8, arrays)
        with pytest.raises(CheckpointError):
            checkpoints.restore(new_state(mesh), 8)
    assert not (tmp_path / "ran").exists()


def test_only_the_newest_are_kept_and_foreign_folders_are_left_alone(tmp_path, mesh):
    (tmp_path / "checkpoints" / "notes").mkdir(parents=True)
    (tmp_path / "checkpoints" / "00000001").mkdir()
    state = new_state(mesh)
    with open_(tmp_path, max_to_keep=2) as checkpoints:
        for step in (2, 4, 6):
            checkpoints.save(step, state, loader_state=None, config=None)
        checkpoints.wait()
        assert checkpoints.steps() == [4, 6]
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"notes", "00000001", "00000004", "00000006"}


def test_what_a_killed_removal_leaves_is_no_step_and_goes_with_the_next_run(tmp_path, mesh, monkeypatch):
    def killed(folder, *_):
        next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()
        raise OSError("killed")

    state = new_state(mesh)
    with open_(tmp_path, max_to_keep=1) as checkpoints:
        checkpoints.save(2, state, loader_state=None, config=None)
        checkpoints.wait()
        with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="killed"):
            patch.setattr(shutil, "rmtree", killed)
            checkpoints.save(4, state, loader_state=None, config=None)
            checkpoints.wait()
        assert checkpoints.steps() == [4]
    assert [(one.step, one.state) for one in listed(tmp_path)] == [(2, "partial"), (4, "complete")]
    (tmp_path / "checkpoints" / "notes.removed").mkdir()
    with open_(tmp_path, max_to_keep=1) as checkpoints:
        checkpoints.save(6, state, loader_state=None, config=None)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"notes.removed", "00000006"}


def test_a_save_that_fails_in_the_background_surfaces_and_keeps_the_last_good_step(tmp_path, mesh, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    state = new_state(mesh)
    with open_(tmp_path, max_to_keep=1) as checkpoints:
        checkpoints.save(1, state, loader_state=None, config=None)
        checkpoints.wait()
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "write", full)
            checkpoints.save(2, state, loader_state=None, config=None)
            with pytest.raises(CheckpointError, match="No space left on device.*free space"):
                checkpoints.wait()
        assert checkpoints.steps() == [1]
        checkpoints.save(2, state, loader_state=None, config=None)
        checkpoints.wait()
        assert checkpoints.steps() == [2]


def test_an_error_is_raised_by_check_without_waiting(tmp_path, mesh, monkeypatch):
    monkeypatch.setattr(manifest, "write", lambda *_: 1 / 0)
    with open_(tmp_path) as checkpoints:
        checkpoints.save(1, new_state(mesh), loader_state=None, config=None)
        with pytest.raises(CheckpointError, match="ZeroDivisionError"):
            while True:
                checkpoints.check()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, mesh):
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(CheckpointError, match="could not be saved.*choose another folder"):
        train(tmp_path, 4, mesh=mesh)


def test_too_little_space_is_found_before_writing(tmp_path, mesh, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with open_(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="GB needed, 0.000 GB free.*free space"):
        checkpoints.save(1, new_state(mesh), loader_state=None, config=None)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.replace(params={**s.params, "bias": jnp.zeros(5)}),
            r"params.bias is float32 \[4\] .*float32 \[5\]",
        ),
        (lambda s: s.replace(step=jnp.zeros((), jnp.int16)), r"step is int32 \[\] in the checkpoint and int16 \[\]"),
        (lambda s: s.replace(ema_params=None), r"ema_params.bias is float32 \[4\] in the checkpoint and absent"),
        (lambda s: s.replace(extra={}), r"extra.calls is int32"),
    ],
)
def test_other_shapes_dtypes_and_names_are_refused(saved, mesh, change, message):
    with open_(saved[0]) as checkpoints, pytest.raises(CheckpointError, match=message):
        checkpoints.restore(change(new_state(mesh)))


def test_a_state_that_does_not_divide_over_the_mesh_is_named(mesh):
    with pytest.raises(ValueError, match=r"'down'.*axis 'mlp' of size 6 does not divide"):
        new_state(make_mesh(tensor=4), model=Mlp(width=6))


def test_max_to_keep_must_leave_something(tmp_path):
    with pytest.raises(ValueError, match="max_to_keep 0"):
        open_(tmp_path, 0)
