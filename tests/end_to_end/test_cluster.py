"""Records made on a cluster: Beam's DaskRunner on a scheduler and two worker processes, of which one is killed."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from videopoet_jax.pretrained import resolve

pytest.importorskip("apache_beam")
pytest.importorskip("distributed")

MAIN = "from videopoet_jax.cli.main import main; main()"
SETTINGS = ["--config", "lm:nano", "--set", "data.size=96", "--models", str(resolve("nano")), "--shard-size", "8"]


def prepare(out, *options):
    command = [sys.executable, "-c", MAIN, "data", "prepare", *SETTINGS, "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def bytes_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "meta.json"}


@pytest.fixture
def cluster():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    run, host = [sys.executable, "-m", "distributed.cli."], ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen([*run[:2], run[2] + "dask_scheduler", "--port", address.split(":")[1], *host])
    start = [*run[:2], run[2] + "dask_worker", f"tcp://{address}", "--nthreads", "1", "--no-nanny", *host]
    workers = [subprocess.Popen(start) for _ in range(2)]
    yield f"tcp://{address}", workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster, tmp_path):
    address, workers = cluster
    here = prepare(tmp_path / "here")
    assert here.wait(600) == 0, here.stdout.read()
    there = prepare(tmp_path / "there", "--runner", "DaskRunner", f"--dask_client_address={address}")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "there").glob("*.array_record")):
        assert there.poll() is None and time.monotonic() < deadline, there.stdout.read()
        time.sleep(0.1)
    os.kill(workers[0].pid, signal.SIGKILL)
    assert len(list((tmp_path / "there").glob("*.array_record"))) < 12  # in the middle of the work
    assert there.wait(600) == 0, there.stdout.read()
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")
    assert len(bytes_of(tmp_path / "here")) == 12 + 1  # the shards and their index
