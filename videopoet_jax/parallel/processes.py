"""Several processes that train as one: joining them, and what each may do by itself.

with joined():                         # before anything asks JAX for devices
    …
    if jax.process_index() == 0:
        with alone():                  # computes on this process's devices, and waits for no other
            draw(own_copy(state.params))
"""

import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from videopoet_jax.parallel.mesh import make_mesh

PyTree = Any
# JAX reads the first of them itself; the other two it only takes from a cluster that it knows.
COORDINATOR, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Ours: how long to wait for the others at the start, and how long one may be silent until it counts as dead.
JOIN, HEARTBEAT = "VIDEOPOET_JOIN_SECONDS", "VIDEOPOET_HEARTBEAT_SECONDS"
PARTING = 24 * 3600  # seconds that those who are done wait for one that still writes; a dead one is found out sooner
FAILED = 2
PIECE = 1 << 30  # bytes; ours


@contextmanager
def joined() -> Iterator[None]:
    """This process is one of several while the `with` block runs, and an error in it ends the process at once.

    Else JAX would have it wait in silence for the others to end, which wait for it in a collective.
    """
    join_processes()
    try:
        yield
    except (Exception, KeyboardInterrupt):
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED)


def join_processes() -> None:
    """Makes this process one of several, each with its own devices; waits for the others.

    Who they are is read from the cluster where JAX knows how (TPU pod, GKE, Slurm, Open MPI), or from the environment:
    the address of process 0, the number of processes, and this one's, counted from 0. If they do not come, the process
    ends with one line and exit code 2: JAX would abort.

    Raises:
        ValueError: neither a cluster nor those variables, numbers that make no sense, or a port that is taken.
    """
    count, number, patience, heartbeat = (_number(name) for name in (COUNT, NUMBER, JOIN, HEARTBEAT))
    patience = 300 if patience is None else patience
    address = os.environ.get(COORDINATOR)
    if address is not None:
        _check_address(address, own=number == 0)
    alarm = threading.Timer(patience, _give_up, (patience, address, count, number))
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            num_processes=count,
            process_id=number,
            initialization_timeout=patience + 60,  # the alarm comes first
            heartbeat_timeout_seconds=100 if heartbeat is None else heartbeat,
            shutdown_timeout_seconds=PARTING,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"no cluster that JAX knows (TPU pod, GKE, Slurm, Open MPI), and "
            f"{COORDINATOR}={address} {COUNT}={count} {NUMBER}={number}: {error} "
            f"Set all three in every process, such as {COORDINATOR}=host:1234."
        ) from error
    finally:
        alarm.cancel()


def _number(name: str) -> int | None:
    """An environment variable's whole number; None where it is not set."""
    words = os.environ.get(name)
    if words is None:
        return None
    if not words.isdecimal():
        raise ValueError(f"{name}={words}: a whole number, 0 or more, is needed.")
    return int(words)


def _check_address(address: str, *, own: bool) -> None:
    """Raises unless it is HOST:PORT and, of this process's `own`, free: JAX would crash."""
    port = address.rpartition(":")[2]
    if ":" not in address or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{COORDINATOR}={address}: HOST:PORT is needed, such as host:1234.")
    if own and "JAX_COORDINATOR_BIND_ADDRESS" not in os.environ:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            socket.create_server(("", int(port)), family=family, dualstack_ipv6=both).close()
        except OSError as error:
            why = os.strerror(error.errno).lower()
            raise ValueError(
                f"{COORDINATOR}={address}: port {port} cannot be had here ({why}); end what listens there, or name "
                f"another port in every process."
            ) from error


def _give_up(seconds: int, address: str | None, count: int | None, number: int | None) -> None:
    """Ends this process, which waits in vain, with one line."""
    if address is not None and number != 0 and not _answers(address):
        found, remedy = f"nobody answers at {address}, where process 0 should be", "start it, or correct the address"
    else:
        found = f"not all {count or 'processes'} have come to {address or 'where the cluster says'}"
        remedy = f"start those that are missing, or see why they ended; {JOIN} says how long to wait"
    os.write(2, f"error: {found}, in {seconds} s; {remedy}.\n".encode())
    os._exit(FAILED)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def own_copy(tree: PyTree) -> PyTree:
    """The arrays whole, on this process's first device; all processes call it, for a split array comes from all."""

    def one(leaf: jax.Array) -> jax.Array:
        if not leaf.is_fully_replicated:
            leaf = jax.jit(lambda x: x, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)
        return leaf.addressable_data(0)

    return jax.tree.map(one, tree) if jax.process_count() > 1 else tree


def on_host(tree: PyTree) -> PyTree:
    """The arrays whole, in the memory of the first process's host, None on the others; all processes call it.

    A device holds `PIECE` bytes of one array at a time besides what it has; where there is one process, all stay as
    they are.
    """
    first = jax.process_index() == 0

    def one(leaf: jax.Array) -> Any:
        if leaf.is_fully_replicated or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf.addressable_data(0) if first else None
        rows = max(1, len(leaf) * PIECE // leaf.nbytes)
        found = np.empty(leaf.shape, leaf.dtype) if first else None
        for start in range(0, len(leaf), rows):
            piece = own_copy(leaf[start : start + rows])
            if first:
                found[start : start + rows] = piece
        return found

    return jax.tree.map(one, tree) if jax.process_count() > 1 else tree


def alone() -> AbstractContextManager:
    """What is computed meanwhile runs on this process's first device; where there is one process, on all as before."""
    return jax.set_mesh(make_mesh(jax.local_devices()[:1])) if jax.process_count() > 1 else nullcontext()
