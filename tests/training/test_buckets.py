"""A run whose folder is in a bucket, of a server on loopback that speaks Google Cloud Storage's JSON API."""

import contextlib
import json
import os

import pytest
from tiny_model import assert_same_bits, new_state, train

from videopoet_jax.cli.main import main
from videopoet_jax.parallel import make_mesh
from videopoet_jax.training import folders, manifest
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.folders import Workdir, folder
from videopoet_jax.training.manifest import CheckpointError
from videopoet_jax.training.saved import listed, open_step

# TensorStore looks at its settings once in a process: in one that has used it before, these would come too late.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket():
    """`gs://bucket`; what gcsfs, Google's own client and TensorStore are told of the server.

    TensorStore asks of every answer which version it is, as Google's say in a header and this server does not.
    """
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    def download(request, response, storage, *rest, send=objects.download, **options):
        with contextlib.suppress(NotFound):
            found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
            response["x-goog-generation"] = found["generation"]
        send(request, response, storage, *rest, **options)

    objects.download = download
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    address = f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    settings = {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "NO_GCE_CHECK": "true"}
    settings |= {"EPATH_USE_TF": "0", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield "gs://bucket"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def run(bucket, tmp_path_factory):
    """A run that stopped after step 4 and went on to step 6, and the same one in a local folder."""
    for steps in (4, 6):
        train(f"{bucket}/runs/tiny", steps)
    return f"{bucket}/runs/tiny", train(tmp_path_factory.mktemp("local"), 6)


def test_it_goes_on_where_it_stopped_and_ends_as_one_in_a_local_folder(run, tmp_path):
    place, local = run
    again = train(place, 6)  # which is finished
    assert_same_bits(again, local)
    assert [(found.step, found.state) for found in listed(place)] == [(4, "complete"), (6, "complete")]
    with Workdir(place) as workdir:
        rows = [json.loads(line) for line in (workdir.local / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert any(name.startswith("tensorboard/events") for name in folders.files(folder(place)))


def test_arrays_are_read_from_there(run):
    place, local = run
    saved = open_step(place)
    assert saved.step == 6 and (saved.arrays["params.up"][...] == local.params["up"]).all()


def test_only_the_newest_are_kept_and_what_was_never_finished_is_no_step(bucket):
    place = f"{bucket}/runs/kept"
    train(place, 12, checkpoint_every=4)
    with Checkpoints(place, max_to_keep=2) as checkpoints:
        assert checkpoints.steps() == [8, 12]
        (checkpoints.folder(12) / manifest.NAME).unlink()
        assert checkpoints.latest() == 8
    assert int(train(place, 12).step) == 12  # written over
    with Checkpoints(place, max_to_keep=2) as checkpoints:
        assert checkpoints.steps() == [8, 12]


def test_what_a_killed_removal_leaves_goes_with_the_next_run(bucket, monkeypatch):
    def killed(_):
        raise OSError("killed")

    place, mesh = f"{bucket}/runs/killed", make_mesh(fsdp=2)
    state, kept = new_state(mesh), lambda: Checkpoints(place, max_to_keep=1)
    with kept() as checkpoints:
        checkpoints.save(2, state, loader_state=None, config=None)
        checkpoints.wait()
        with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="killed"):
            patch.setattr(folders, "remove", killed)
            checkpoints.save(4, state, loader_state=None, config=None)
            checkpoints.wait()
    with kept() as checkpoints:
        checkpoints.save(6, state, loader_state=None, config=None)
        checkpoints.wait()
        assert checkpoints.steps() == [6]
    assert {name.split("/")[0] for name in folders.files(folder(place) / "checkpoints")} == {"00000006"}


def test_damage_is_named_and_set_aside_when_told_to(bucket, capsys):
    place, mesh = f"{bucket}/runs/damaged", make_mesh(fsdp=2)
    train(place, 8, mesh=mesh)
    found = folders.files(folder(place) / "checkpoints" / "00000008" / "state")
    name = max((name for name in found if "/d/" in f"/{name}"), key=lambda name: found[name].size)
    path = folder(place) / "checkpoints" / "00000008" / "state" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=f"{path.name}: its sha256 is not the one"):
        train(place, 12, mesh=mesh)
    with Checkpoints(place, max_to_keep=2) as checkpoints:
        assert checkpoints.restore(new_state(mesh), fallback=True).step == 4
    main(["checkpoint", "list", place])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["4", "8"] and said[1].endswith("damaged   set aside")
    assert int(train(place, 8, mesh=mesh).step) == 8  # written over
    main(["checkpoint", "verify", place])
    assert capsys.readouterr().out.count("intact") == 2


def test_what_is_missing_to_read_a_bucket_is_said(monkeypatch):
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"gs://b/run: gcsfs is not installed.*pip install 'videopoet_jax\[gcs\]'"):
        folder("gs:/b/run")
    assert folder("runs/lm").name == "lm"
