"""Two processes on loopback train as one: same parameters, one set of checkpoints, one step to stop after.

And when one of them is told to stop, fails, dies or is another's stranger, the other does not go on or wait for long.
"""

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
from videopoet_jax.parallel.processes import FAILED
from videopoet_jax.training.signals import STOPPED

PROCESS = Path(__file__).with_name("run_process.py")
PATIENCE = 900  # seconds
HEARTBEAT = 10  # seconds


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(workdir, steps, fault=""):
    address = f"127.0.0.1:{free_port()}"
    workdir.mkdir(exist_ok=True)
    known = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "VIDEOPOET_HEARTBEAT_SECONDS": str(HEARTBEAT),
    }
    return [
        subprocess.Popen(
            [sys.executable, str(PROCESS), str(workdir), str(steps), fault],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | known | {"JAX_PROCESS_ID": str(number)},
        )
        for number in range(2)
    ]


def end(processes):
    """Exit codes and what was said."""
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def until(processes, *markers):
    """Waits for the files."""
    begun = time.monotonic()
    while not all(marker.exists() for marker in markers):
        if time.monotonic() - begun > PATIENCE or processes[1].poll() is not None:
            raise AssertionError(end(processes))
        time.sleep(0.02)


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


@pytest.mark.parametrize(
    "number, fault",
    [
        (signal.SIGTERM, "train"),
        (signal.SIGINT, "train"),
        *(
            pytest.param(signal.SIGTERM, fault, marks=pytest.mark.slow)
            for fault in ("eval", "compile 4000000", "stall")
        ),
    ],
)
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path, number, fault):
    run = tmp_path / "run"
    processes = start(run, 10_000, fault)
    until(processes, run / "here-1")
    processes[1].send_signal(number)
    codes, said = end(processes)
    assert codes == [STOPPED, STOPPED], said
    assert "stopping once this step is done and saved" in said[1]
    (last,) = {int((run / f"stopped-{number}").read_text()) for number in range(2)}
    assert last == steps_saved(run)[-1]
    assert f"stopped: step {last} is saved" in said[0]
    if fault.startswith("compile"):
        assert last == 1


@pytest.mark.slow
def test_a_run_that_goes_on_can_be_stopped_while_it_compiles(tmp_path):
    assert end(start(tmp_path, 4))[0] == [0, 0]
    (tmp_path / "here-1").unlink()
    processes = start(tmp_path, 10_000, "compile 4000000")
    until(processes, tmp_path / "here-1")
    processes[1].send_signal(signal.SIGTERM)
    codes, said = end(processes)
    assert codes == [STOPPED, STOPPED], said
    assert steps_saved(tmp_path) == [4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["compile 1000000000", "long stall"])  # out of Python's hands, and in them
def test_a_second_sigterm_ends_a_process_at_once_and_the_other_soon(tmp_path, fault):
    processes = start(tmp_path, 10_000, fault)
    until(processes, tmp_path / "here-1")
    for _ in range(2):
        processes[1].send_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert processes[1].wait(timeout=2) in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert processes[0].wait(timeout=HEARTBEAT + 10) != 0
    end(processes)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raise", "kill", "kill the first", "freeze"])
def test_whoever_is_left_ends_too(tmp_path, fault):
    processes = start(tmp_path, 10_000, fault)
    lost, left = (0, 1) if fault == "kill the first" else (1, 0)  # the first one is whom the others ask for each other
    until(processes, tmp_path / f"here-{lost}")
    if fault != "freeze":
        processes[lost].wait(timeout=PATIENCE)
    assert processes[left].wait(timeout=HEARTBEAT + 10) != 0
    processes[lost].kill()
    codes, said = end(processes)
    assert codes[lost] == (FAILED if fault == "raise" else -signal.SIGKILL)
    if fault == "raise":  # its traceback is the last it says
        assert said[1].endswith("RuntimeError: a fault of this host\n") and "Traceback" in said[1]


@pytest.mark.slow
def test_processes_that_read_with_other_vocabularies_do_not_begin(tmp_path):
    codes, said = end(start(tmp_path, 4, "vocabulary"))
    assert 0 not in codes
    assert "process 1 is not as process 0: vocabulary.text: digest 0 → digest 1; give all of them" in said[0], said
    assert not list(tmp_path.iterdir())


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
    one = [many_tasks.digests(many_tasks.batches(source, rows=2, packing=n), steps) for n in (0, 400)]
    assert together == list(itertools.chain(*one)) and len(together) == 2 * steps
