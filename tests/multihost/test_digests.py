"""Each of two processes digests and verifies its own files, all learn what one found, any mesh takes the state back."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_model import new_state

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training import manifest
from videopoet_jax.training.checkpoint import Checkpoints

PROCESS = Path(__file__).with_name("run_digests.py")
PATIENCE = 240  # seconds


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder of a run of two processes of four devices, and what each of them saw."""
    workdir = tmp_path_factory.mktemp("run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen([sys.executable, str(PROCESS), port, str(n), str(workdir)], stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    return workdir, [json.loads((workdir / f"{n}.json").read_text()) for n in range(2)]


@pytest.mark.parametrize("when", ["saved", "verified"])
def test_each_file_is_digested_by_one_of_them(ran, when):
    workdir, seen = ran
    names = sorted(manifest.read(workdir / "checkpoints" / "00000004")["files"])
    assert [sorted(one[when]) for one in seen] == [names[0::2], names[1::2]]


def test_both_name_the_first_damaged_file_whoever_found_it(ran):
    _, (one, other) = ran
    assert one["intact"] is one["mended"] is other["intact"] is other["mended"] is None
    assert one["told"] == other["told"]
    assert f"{one['first damaged']}: its sha256 is not the one it was saved with" in one["told"]


def test_what_fails_on_one_fails_on_both_and_the_next_call_is_whole_again(ran):
    _, (one, other) = ran
    assert (one["failed"], other["failed"]) == ("RuntimeError: process 1: OSError: unplugged", "OSError: unplugged")
    assert one["answers"] == other["answers"] == [0, 1]


@pytest.mark.parametrize("sizes", [{"data": 2, "fsdp": 4}, {"data": 1, "fsdp": 2, "tensor": 2}, {"data": 1}])
def test_one_process_restores_every_bit_of_it_on_8_4_and_1_devices(ran, sizes):
    workdir, _ = ran
    target = new_state(make_mesh(jax.devices()[: int(np.prod(list(sizes.values())))], **sizes))
    with Checkpoints(workdir, max_to_keep=2) as checkpoints:
        restored = checkpoints.restore(target)
    assert restored.step == 4
    with np.load(workdir / "state.npz") as saved:
        for number, leaf in enumerate(jax.tree.leaves(restored.state)):
            typed = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            data = jax.random.key_data(leaf) if typed else leaf
            np.testing.assert_array_equal(np.asarray(data), saved[f"arr_{number}"])
