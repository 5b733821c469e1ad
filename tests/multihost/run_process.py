"""`python run_process.py WORKDIR STEPS [FAULT]`: one of several processes that train the tiny model together.

WORKDIR/here-NUMBER appears where a fault has a place, WORKDIR/stopped-NUMBER names the step that a signal led to.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"  # the last counts
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "training"), str(TESTS.parent)]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import tiny_model  # noqa: E402

from videopoet_jax.parallel import make_mesh  # noqa: E402
from videopoet_jax.parallel.processes import joined  # noqa: E402
from videopoet_jax.training import compilation  # noqa: E402
from videopoet_jax.training.agreement import agree  # noqa: E402
from videopoet_jax.training.signals import Stopped  # noqa: E402

WORKDIR, STEPS, FAULT = Path(sys.argv[1]), int(sys.argv[2]), (*sys.argv[3:], "")[0]
NUMBER = int(os.environ["JAX_PROCESS_ID"])


def here():
    (WORKDIR / f"here-{NUMBER}").touch()


class Batches:
    """The tiny model's; before the fourth something happens in process 1, or in the first."""

    def __init__(self):
        self.loader = tiny_model.loader()
        self.get_state, self.set_state, self.ahead = self.loader.get_state, self.loader.set_state, self.loader.ahead

    def __next__(self):
        if self.loader.get_state()["next_batch"] == 3:
            here()
            if (0 if FAULT == "kill the first" else 1) == NUMBER:
                self.happen()
        return next(self.loader)

    def happen(self):
        match FAULT:
            case "stall":
                time.sleep(2)
            case "long stall":
                time.sleep(600)
            case "raise":
                raise RuntimeError("a fault of this host")
            case "kill" | "kill the first":
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)


def evaluate(state):
    here()
    time.sleep(2)
    return {}


def compile_slowly(*arguments, compile_step=compilation._compile):
    """As a compilation does it: long, and out of Python's hands."""
    here()
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(FAULT.partition(" ")[2]))
    return compile_step(*arguments)


def main():
    agree(vocabulary={"text": f"digest {NUMBER * (FAULT == 'vocabulary')}"})
    settings = {"evaluate_every": 3, "evaluate": evaluate} if FAULT == "eval" else {}
    if FAULT.startswith("compile"):
        compilation._compile = compile_slowly
    try:
        state = tiny_model.train(WORKDIR, STEPS, mesh=make_mesh(data=2, fsdp=2), batches=Batches(), **settings)
    except Stopped as stopped:
        (WORKDIR / f"stopped-{NUMBER}").write_text(str(stopped.step))
        raise
    whole = {name: np.asarray(jax.experimental.multihost_utils.process_allgather(p, tiled=True))
             for name, p in state.params.items()}  # fmt: skip
    if NUMBER == 0:
        np.savez(WORKDIR / "params.npz", **whole)


with joined():
    main()
