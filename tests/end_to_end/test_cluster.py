"""Records made and films curated on a cluster, and the launch script.

Beam's DaskRunner has worker processes, of which one is killed; Flink's and Spark's runners have a job server and a pool
of workers, where the server is Beam's own in Python.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.pretrained import resolve

pytest.importorskip("apache_beam")
pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
MAIN = "from videopoet_jax.cli.main import main; main()"
SETTINGS = ["--config", "lm:nano", "--set", "data.size=96", "--models", str(resolve("nano")), "--shard-size", "8"]
PATHS = {"ENVIRONMENT": sys.prefix, "PYTHONPATH": str(ROOT), "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}


def prepare(out, *options):
    command = [sys.executable, "-c", MAIN, "data", "prepare", *SETTINGS, "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def launch(*options, cwd=ROOT):
    command = [str(ROOT / "launch/prepare.sh"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **PATHS})


def bytes_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "meta.json"}


def whole(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same records, made by one process."""
    out = tmp_path_factory.mktemp("records") / "here"
    process = prepare(out)
    assert process.wait(600) == 0, process.stdout.read()
    assert len(bytes_of(out)) == 12 + 1  # the shards and their index
    return bytes_of(out)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def started():
    """Starts processes, and ends them with the test."""
    processes = []

    def start(*command):
        processes.append(subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, **PATHS}))
        return processes[-1]

    yield start
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(started, here, tmp_path):
    host, port = ["--host", "127.0.0.1", "--no-dashboard"], free_port()
    address = f"tcp://127.0.0.1:{port}"
    started("distributed.cli.dask_scheduler", "--port", str(port), *host)
    workers = [
        started("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *host) for _ in range(2)
    ]
    there = prepare(tmp_path / "there", "--runner", "DaskRunner", f"--dask_client_address={address}")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "there").glob("*.array_record")):
        assert there.poll() is None and time.monotonic() < deadline, there.stdout.read()
        time.sleep(0.1)
    os.kill(workers[0].pid, signal.SIGKILL)
    assert len(list((tmp_path / "there").glob("*.array_record"))) < 12  # in the middle of the work
    assert there.wait(600) == 0, there.stdout.read()
    assert bytes_of(tmp_path / "there") == here


@pytest.mark.slow
def test_the_launch_script_starts_a_dask_cluster_and_stops_it(here, tmp_path):
    done = launch("dask", "--workers", "2", *SETTINGS, "--out", "records", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrote records: 96 records" in done.stdout
    assert bytes_of(tmp_path / "records") == here
    (file,) = {word.rpartition("=")[2] for word in done.stdout.split() if word.startswith("--dask_scheduler_file")}
    assert not Path(file).parent.exists()
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(file.encode() in command for command in running)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["flink", "spark"])
def test_the_launch_script_gives_a_job_to_a_job_server_whose_workers_are_a_pool(runner, started, here, tmp_path):
    server, pool = free_port(), free_port()
    started("apache_beam.runners.portability.local_job_service_main", "--port", str(server))
    started("apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}")
    workers = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}"]
    done = launch(runner, *SETTINGS, "--out", tmp_path / "there", f"--job_endpoint=localhost:{server}", *workers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bytes_of(tmp_path / "there") == here


@pytest.mark.slow
def test_films_are_curated_on_dask_as_by_one_process(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for number in (0, 0, 3):
        clip = render("train", 2, number, num_frames=18, height=64, width=64).frames
        write_video(films / f"{len(list(films.iterdir()))}.mp4", clip, fps=8)
    (films / "broken.mp4").write_bytes(b"no film")
    settings = [films, "--shard-size", "1", "--rule", "letterbox=any", "--out-dir"]
    command = [sys.executable, "-c", MAIN, "data", "curate", *map(str, settings), str(tmp_path / "here")]
    assert subprocess.run(command, env={**os.environ, **PATHS}).returncode == 0
    kept = (films / "curated.jsonl").read_bytes()
    done = launch("dask", "curate", *settings, tmp_path / "there", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (films / "curated.jsonl").read_bytes() == kept and kept
    for part in (".", "progress"):
        assert whole(tmp_path / "here" / part) == whole(tmp_path / "there" / part)
    assert len(list((tmp_path / "there" / "progress").glob("*.npz"))) == 4
    assert json.loads((tmp_path / "there" / "report.json").read_text())["dropped"]["duplicate"]["clips"] == 1


POOL = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]


@pytest.mark.parametrize(
    "runner, options, words",
    [
        ("dask", ["--workers", "3"], "--nworkers 3 --nthreads 1|12 partitions"),
        ("flink", ["--flink_master=host:8081", *POOL], "--flink_master=host:8081|FlinkRunner: a job of"),
        ("spark", ["--spark_master_url=spark://host:7077", *POOL], "SparkRunner: a job of|EXTERNAL localhost:50000"),
        ("dataflow", ["--region=europe-west4"], "error: --project: missing; DataflowRunner needs"),
    ],
)  # fmt: skip
def test_a_dry_run_shows_the_commands_and_leaves_nothing(runner, options, words, tmp_path):
    done = launch(runner, "--dry-run", *SETTINGS, "--out", "records", *options, cwd=tmp_path)
    assert done.returncode == (2 if "error" in words else 0), done.stderr
    assert f"data prepare --runner {runner.capitalize()}Runner --config lm:nano" in done.stdout
    assert all(part in done.stdout + done.stderr for part in words.split("|"))
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_curation_shows_the_commands_and_leaves_nothing(tmp_path):
    (tmp_path / "films").mkdir()
    for number in range(3):
        (tmp_path / "films" / f"{number}.mp4").write_bytes(b"not looked into")
    done = launch(
        "flink", "curate", "films", "--out-dir", "report", "--shard-size", "1", "--dry-run", *POOL, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "data curate --runner FlinkRunner films --out-dir report" in done.stdout
    assert "3 shards of 3 films of films into report" in done.stdout and "FlinkRunner: a job of" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["films"] and len(list((tmp_path / "films").iterdir())) == 3


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "runner '': unknown; use dask, flink, spark or dataflow"),
        (["ray"], "runner 'ray': unknown"),
        (["dask", "--workers"], "--workers: how many?"),
        (["dask", "--workers", "0"], "--workers 0: a whole number above 0 is needed"),
        (["dask", "--workers", "2", "--dask_client_address=tcp://h:1"], "that cluster has its own; leave it"),
        (["spark", "--workers", "2"], "--workers 2: of dask alone; SparkRunner has options of its own"),
    ],
)
def test_the_launch_script_tells_of_mistakes(options, words):
    done = launch(*options)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr
