"""Two processes on loopback train as one: same parameters, one set of checkpoints, one step to stop after."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import many_tasks
import numpy as np
import pytest
from tiny_model import train

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training.signals import STOPPED

PROCESS = Path(__file__).with_name("run_process.py")
PATIENCE = 900  # seconds


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(workdir, steps):
    port = free_port()
    workdir.mkdir(exist_ok=True)
    command = [sys.executable, str(PROCESS), str(port)]
    return [
        subprocess.Popen([*command, str(n), str(workdir), str(steps)], stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]


def end(processes):
    """Exit codes and what was said."""
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def steps_saved(workdir):
    return sorted(int(folder.name) for folder in (workdir / "checkpoints").glob("0*"))


def test_two_processes_make_the_parameters_that_one_makes_and_resume(tmp_path):
    for steps in (4, 8):  # the second pair goes on from the checkpoint of the first
        codes, said = end(start(tmp_path / "two", steps))
        assert codes == [0, 0], said
    assert "resuming after step 4" in said[0]
    assert steps_saved(tmp_path / "two") == [4, 8]
    one = train(tmp_path / "one", 8, mesh=make_mesh(jax.devices()[:4], data=2, fsdp=2))
    with np.load(tmp_path / "two" / "params.npz") as two:
        assert set(two) == set(one.params)
        for name, value in one.params.items():
            np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path, number):
    processes = start(tmp_path / "run", 10_000)
    marker, begun = tmp_path / "run" / "step-1", time.monotonic()
    while not (marker.exists() and int(marker.read_text() or 0) >= 3):
        assert time.monotonic() - begun < PATIENCE and processes[1].poll() is None
        time.sleep(0.05)
    processes[1].send_signal(number)
    codes, said = end(processes)
    assert codes == [STOPPED, STOPPED], said
    [last] = {int(line.split("step ")[1].split()[0]) for line in said[0].splitlines() if line.startswith("stopped:")}
    assert last == steps_saved(tmp_path / "run")[-1]


def test_two_processes_read_a_thousand_batches_of_records_as_one_does(tmp_path):
    """Each its own rows, whatever the order of its hashes, and gone on with after a stop; in groups, and packed."""
    steps, stop, port, source = 1_000, 437, free_port(), many_tasks.written(tmp_path / "records")
    processes = []
    for number in range(2):
        command = [many_tasks.__file__, source.directory, port, number, steps, stop, tmp_path / f"rows-{number}"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": str(number + 1)}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (PROCESS.parents[2], *filter(None, sys.path))))
        processes.append(
            subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True, env=environment)
        )
    codes, said = end(processes)
    assert codes == [0, 0], said
    rows = [(tmp_path / f"rows-{number}").read_text().splitlines() for number in range(2)]
    together = [json.loads(first) + json.loads(second) for first, second in zip(*rows, strict=True)]
    one = [many_tasks.digests(many_tasks.batches(source, tokens=800, packing=n), steps) for n in (0, 400)]
    assert together == list(itertools.chain(*one)) and len(together) == 2 * steps
