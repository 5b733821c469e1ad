"""`python run_digests.py PORT NUMBER WORKDIR`: one of two processes that save, damage and restore a checkpoint.

Writes what it saw to WORKDIR/NUMBER.json, and process 0 the whole state that was saved to WORKDIR/state.npz.
"""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=4"  # the last counts
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "training"), str(TESTS.parent)]

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental.multihost_utils import process_allgather  # noqa: E402

PORT, NUMBER, WORKDIR = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{PORT}", num_processes=2, process_id=NUMBER)

import tiny_model  # noqa: E402

from videopoet_jax.parallel import make_mesh  # noqa: E402
from videopoet_jax.parallel.together import together  # noqa: E402
from videopoet_jax.training import manifest  # noqa: E402
from videopoet_jax.training.checkpoint import Checkpoints  # noqa: E402
from videopoet_jax.training.manifest import CheckpointError  # noqa: E402

seen, hashed, sha256 = {}, [], manifest.sha256


def noting(path):
    hashed.append(str(path.relative_to(FOLDER)))
    return sha256(path)


def whole(leaf):
    typed = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(process_allgather(jax.random.key_data(leaf) if typed else leaf, tiled=True))


def restore(target):
    """The error of a restore, in its words."""
    try:
        with Checkpoints(WORKDIR, max_to_keep=2) as checkpoints:
            checkpoints.restore(target)
    except CheckpointError as error:
        return str(error)


def flip_bits():
    """Damages the files, or mends them; the first process does, and both wait."""
    for path in damaged if NUMBER == 0 else ():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


def fail_on_the_second():
    if NUMBER == 1:
        raise OSError("unplugged")


mesh = make_mesh(data=2, fsdp=2, tensor=2)
FOLDER = Checkpoints(WORKDIR, max_to_keep=2).folder(4)
manifest.sha256 = noting
state = tiny_model.train(WORKDIR, 4, mesh=mesh)
seen["saved"] = hashed.copy()
leaves = [whole(leaf) for leaf in jax.tree.leaves(state)]
if NUMBER == 0:
    np.savez(WORKDIR / "state.npz", *leaves)

hashed.clear()
seen["intact"], seen["verified"] = restore(tiny_model.new_state(mesh)), hashed.copy()
names = sorted(manifest.read(FOLDER)["files"])
numbers = [n for n, name in enumerate(names) if "/d/" in name]
second = next(n for n in numbers if n % 2 != numbers[0] % 2)  # of the other's share
damaged = [FOLDER / names[n] for n in (numbers[0], second)]
together("damage", flip_bits)
seen["first damaged"], seen["told"] = names[numbers[0]], restore(tiny_model.new_state(mesh))
together("mend", flip_bits)
seen["mended"] = restore(tiny_model.new_state(mesh))

try:
    together("fail", fail_on_the_second)
except (RuntimeError, OSError) as error:
    seen["failed"] = f"{type(error).__name__}: {error}"
seen["answers"] = together("fail", lambda: NUMBER)
(WORKDIR / f"{NUMBER}.json").write_text(json.dumps(seen))
