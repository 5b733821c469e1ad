"""`python run_process.py PORT NUMBER WORKDIR STEPS`: one of two processes that train the tiny model together."""

import os
import sys
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "training"), str(TESTS.parent)]

import jax  # noqa: E402
import numpy as np  # noqa: E402

PORT, NUMBER, WORKDIR, STEPS = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{PORT}", num_processes=2, process_id=NUMBER)

import tiny_model  # noqa: E402

from videopoet_jax.parallel import make_mesh  # noqa: E402


def slowly(state):
    """Time for a signal to come between two steps."""
    (WORKDIR / f"step-{NUMBER}").write_text(str(int(state.step)))
    time.sleep(0.2)
    return {}


waits = {"evaluate_every": 1, "evaluate": slowly} if STEPS > 100 else {}
state = tiny_model.train(WORKDIR, STEPS, mesh=make_mesh(data=2, fsdp=2), **waits)
whole = {name: np.asarray(jax.experimental.multihost_utils.process_allgather(p, tiled=True))
         for name, p in state.params.items()}  # fmt: skip
if NUMBER == 0:
    np.savez(WORKDIR / "params.npz", **whole)
