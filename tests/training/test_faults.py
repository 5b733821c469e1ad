"""Kills, signals and full disks, each in a process of its own: the last finished step always goes on, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import assert_same_bits, train

from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.lock import Occupied, sole_run
from videopoet_jax.training.signals import STOPPED


def run(workdir, steps, fault, **environment):
    command = [sys.executable, str(Path(__file__).parent / "run_tiny.py"), str(workdir), str(steps), fault]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)


def latest(workdir):
    with Checkpoints(workdir, max_to_keep=2) as checkpoints:
        return checkpoints.latest()


@pytest.mark.parametrize("fault", ["kill in orbax", "kill before the manifest"])
def test_a_kill_during_a_save_leaves_the_step_before(tmp_path, fault):
    train(tmp_path, 3)
    assert run(tmp_path, 12, fault).returncode == -9
    assert latest(tmp_path) == 3
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2  # the kill left something behind
    resumed = train(tmp_path, 8)
    assert_same_bits(resumed, train(tmp_path / "whole", 8))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"00000004", "00000008"}


def test_sigterm_saves_the_step_and_exits_with_a_code_of_its_own(tmp_path):
    done = run(tmp_path, 12, "SIGTERM")
    assert done.returncode == STOPPED, done.stderr
    assert "stopped: step 3 is saved; the same command goes on from there" in done.stderr
    assert latest(tmp_path) == 3
    assert_same_bits(train(tmp_path, 8), train(tmp_path / "whole", 8))


def test_a_second_sigterm_exits_at_once(tmp_path):
    assert run(tmp_path, 12, "SIGTERM twice").returncode == -15
    assert latest(tmp_path) is None


@pytest.mark.parametrize("fault", ["disk full", "read-only"])
def test_a_save_that_the_disk_refuses_is_told_in_one_line_and_the_only_step_kept_stands(tmp_path, fault):
    done = run(tmp_path, 12, fault, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="1e9")  # no halves of programs either
    assert done.returncode == 1, done.stderr
    # By its words and not from its beginning: other threads write to stderr too.
    told = [line for line in done.stderr.splitlines() if "CheckpointError: " in line and "could not be saved" in line]
    assert told and "free space on the disk" in told[-1], done.stderr
    assert latest(tmp_path) == 4
    (tmp_path / "checkpoints").chmod(0o755)
    if fault == "read-only":  # whose model is the tests' own
        assert_same_bits(train(tmp_path, 8), train(tmp_path / "whole", 8))


def test_a_second_run_in_the_same_folder_is_refused_until_the_first_one_ends(tmp_path):
    with sole_run(tmp_path), pytest.raises(Occupied, match="another run trains here"):
        train(tmp_path, 1)
    assert latest(tmp_path) is None
    assert run(tmp_path, 12, "SIGTERM twice").returncode == -15  # even one that was killed lets go
    train(tmp_path, 1)
    assert latest(tmp_path) == 1
