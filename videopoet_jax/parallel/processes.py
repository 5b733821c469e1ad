"""Several processes that train as one: joining them, and what each may do by itself.

join_processes()                       # before anything asks JAX for devices
if jax.process_index() == 0:
    with alone():                      # computes on this process's devices, and waits for no other
        draw(own_copy(state.params))
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax

from videopoet_jax.parallel.mesh import make_mesh

PyTree = Any
# JAX reads the first of them itself; the other two it only takes from a cluster that it knows.
COORDINATOR, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def join_processes() -> None:
    """Makes this process one of several, each with its own devices; waits for the others.

    Who they are is read from the cluster where JAX knows how (TPU pod, GKE, Slurm, Open MPI), or from the environment:
    the address of process 0, the number of processes, and this one's, counted from 0.

    Raises:
        ValueError: neither a cluster nor those variables, or numbers that make no sense.
    """
    count, number = (_number(name) for name in (COUNT, NUMBER))
    try:
        jax.distributed.initialize(num_processes=count, process_id=number)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"no cluster that JAX knows (TPU pod, GKE, Slurm, Open MPI), and "
            f"{COORDINATOR}={os.environ.get(COORDINATOR)} {COUNT}={count} {NUMBER}={number}: {error} "
            f"Set all three in every process, such as {COORDINATOR}=host:1234."
        ) from error


def _number(name: str) -> int | None:
    """An environment variable's whole number; None where it is not set."""
    words = os.environ.get(name)
    if words is None:
        return None
    if not words.isdecimal():
        raise ValueError(f"{name}={words}: a whole number, 0 or more, is needed.")
    return int(words)


def own_copy(tree: PyTree) -> PyTree:
    """Arrays that every device holds whole, as arrays of this process's first device.

    Raises:
        ValueError: an array is split over devices, so no process has all of it.
    """

    def one(leaf: jax.Array) -> jax.Array:
        if not leaf.is_fully_replicated:
            raise ValueError(f"an array {list(leaf.shape)} split as {leaf.sharding}: gather it first.")
        return leaf.addressable_data(0)

    return jax.tree.map(one, tree) if jax.process_count() > 1 else tree


def alone() -> AbstractContextManager:
    """What is computed meanwhile runs on this process's first device; where there is one process, on all as before."""
    return jax.set_mesh(make_mesh(jax.local_devices()[:1])) if jax.process_count() > 1 else nullcontext()
