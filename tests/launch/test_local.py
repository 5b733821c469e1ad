"""Processes of one machine that start, stop and go on together; stopped so, nano is trained as if it had not been."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import random_records
from safetensors.numpy import load_file

from videopoet_jax.training.saved import open_step

from processes import STOPPED, Processes  # isort: skip

ROOT = Path(__file__).parents[2]
PATIENCE = 3600  # seconds
STEPS = 40  # enough for JAX, which looks for signals once a second, to hear of one
# One shape of batches: one compilation.
SETTINGS = [f"train.steps={STEPS}", "train.batch_size=8", "data.groups=1", 'data.tasks={"text_to_video": 1.0}']
# One of two processes: `doing` sees its number, how often it was started, and a folder.
PROCESS = """
import os, pathlib, signal, sys, time
number, folder = os.environ["JAX_PROCESS_ID"], pathlib.Path(sys.argv[1])
with open(folder / number, "a") as file:
    print("started", file=file)
times = len((folder / number).read_text().split())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
(folder / f"ready-{number}").touch()
"""


@pytest.fixture
def run(tmp_path):
    """Runs two processes that do so, and returns the exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield lambda doing: Processes(2, 1, [sys.executable, "-c", PROCESS + doing, str(tmp_path)], patience=0.5).run()
    for number, handler in before.items():
        signal.signal(number, handler)


def starts(folder):
    return [len((folder / number).read_text().split()) for number in "01"]


def test_processes_that_end_well_are_not_started_again(run, tmp_path):
    assert run("") == 0
    assert starts(tmp_path) == [1, 1]


def test_a_process_that_fails_ends_the_others_and_is_not_tried_again(run, tmp_path):
    assert run("sys.exit(3) if number == '1' else time.sleep(60)") == 3
    assert starts(tmp_path) == [1, 1]


def test_processes_that_are_stopped_from_outside_go_on(run, tmp_path):
    assert run("sys.exit(75 if times < 3 else 0)") == 0
    assert starts(tmp_path) == [3, 3]


def test_a_process_that_is_stopped_before_it_listens_is_no_failure(run, tmp_path):
    doing = "signal.signal(signal.SIGTERM, signal.SIG_DFL)\nif times == 1: os.kill(os.getpid(), signal.SIGTERM)"
    assert run(doing) == 0
    assert starts(tmp_path) == [2, 2]


def test_who_stops_the_launcher_stops_the_run(run, tmp_path):
    def stop():
        while len(list(tmp_path.glob("ready-*"))) < 2:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert run("time.sleep(60)") == STOPPED
    assert starts(tmp_path) == [1, 1]


class Launch:
    """`launch/train.sh local` on a small nano, as a process whose words are read as they come."""

    def __init__(self, workdir, records, *options):
        out = ["--export", workdir / "model", "--export-dtype", "float32", "--log-every", "1"]
        settings = random_records.settings(records, *SETTINGS)
        words = [ROOT / "launch/train.sh", "local", "lm:nano", workdir, *settings, *out, *options]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(records.parent / "compiled")}
        quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment = {**os.environ, **cache, **quick, "ENVIRONMENT": sys.prefix, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            list(map(str, words)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.said = []

    def until(self, words):
        """Reads until a line has these words."""
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return self
        raise AssertionError("".join(self.said))

    def ends(self, code):
        """Reads to the end, which is with this exit code."""
        try:
            self.said += self.process.communicate(timeout=PATIENCE)[1].splitlines(keepends=True)
        finally:
            while self.process.poll() is None:  # the second signal ends all of them at once
                self.process.terminate()
                time.sleep(1)
        assert self.process.returncode == code, "".join(self.said)
        return "".join(self.said)


@pytest.mark.slow  # seven processes start
def test_nano_that_is_stopped_ends_as_an_uninterrupted_run(tmp_path):
    records, whole, stopped, other = (tmp_path / name for name in ("records", "whole", "stopped", "other"))
    random_records.write(records)
    Launch(whole, records, "--set", f"data.held_out={records}").ends(0)  # both measure and write, the first one draws
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(last["eval/loss_text_to_video"]) and list((whole / "pictures").glob("*.png"))

    # One of the two processes gets SIGTERM: both save, and the launcher goes on by itself.
    run = Launch(stopped, records).until(f"step 3/{STEPS}")
    _, second = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    os.kill(int(second), signal.SIGTERM)
    said = run.ends(0)
    assert "stopped from outside; starting again" in said
    (first,) = map(int, re.findall(r"resuming after step (\d+) from", said))
    assert 3 <= first < STEPS
    a, b = (open_step(folder).arrays for folder in (whole, stopped))
    assert a.keys() == b.keys() and {name.split(".")[0] for name in a} >= {"step", "params", "opt_state", "ema_params"}
    for name in a:
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]), err_msg=name)

    # One process with all eight devices goes on from the step that the two have saved: sums round elsewhere.
    shutil.copytree(stopped, other)
    shutil.rmtree(other / "checkpoints" / f"{STEPS:08d}")
    said = Launch(other, records, "--processes", "1", "--devices", "8").ends(0)
    assert f"resuming after step {first} from" in said
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (whole, other))
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5, err_msg=name)  # measured: equal
