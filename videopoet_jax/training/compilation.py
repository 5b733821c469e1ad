"""Compile each shape of batch once, all before the first step, and keep what was compiled between runs."""

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from videopoet_jax.layers.objective import Metrics
from videopoet_jax.parallel import replicated
from videopoet_jax.training.folders import Folder
from videopoet_jax.training.state import TrainState

PyTree = Any
LATEST = 3600  # seconds that the others' compilations may take longer
THREADS = 2  # ours: processors for each compilation, of which XLA uses more than one only here and there


def use_compilation_cache(directory: str | Folder | None = None) -> str:
    """Turns on JAX's persistent compilation cache and returns its folder.

    JAX's own setting (`JAX_COMPILATION_CACHE_DIR` or `jax_compilation_cache_dir`) wins over `directory`, and
    `directory` over `$XDG_CACHE_HOME/videopoet_jax/compiled` (`~/.cache/…`).
    """
    if jax.config.jax_compilation_cache_dir:
        return jax.config.jax_compilation_cache_dir
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    chosen = str(directory if directory is not None else cache / "videopoet_jax" / "compiled")
    jax.config.update("jax_compilation_cache_dir", chosen)
    # Ours: programs below half a second are cheaper to compile than to look up.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return chosen


def signature(batch: PyTree) -> tuple:
    """Shapes and dtypes of a batch, as a key: `{"x": float32 [8 4]} → (("x", (8, 4), "float32"),)`"""
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    return tuple(
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape, str(leaf.dtype)) for path, leaf in leaves
    )


TPU_OPTIONS = {
    # Products whose operands come piece by piece through a loop: on a v5e by XLA's own estimate 3 times slower than one
    # gathering before them, for widths split over many chips leave narrow pieces.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
    # Collectives run beside products, as MaxText has it; left to itself the compiler does so on a v5e alone.
    **dict.fromkeys(
        (
            "xla_enable_async_all_gather",
            "xla_enable_async_all_reduce",
            "xla_tpu_enable_async_collective_fusion",
            "xla_tpu_enable_async_collective_fusion_fuse_all_gather",
            "xla_tpu_enable_async_collective_fusion_fuse_all_reduce",
            "xla_tpu_enable_async_collective_fusion_multiple_steps",
            "xla_tpu_overlap_compute_collective_tc",
        ),
        "true",
    ),
}


def lowered_step(train_step: Callable, mesh: Mesh, state: TrainState, batch: PyTree) -> jax.stages.Lowered:
    """A train step for this shape of batch, with the state's own shardings; the state is donated.

    Args:
        state, batch: arrays, or shapes with shardings.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
    return step.lower(state, batch)


def compiled_step(
    train_step: Callable, mesh: Mesh, state: TrainState, batch: PyTree, options: dict | None = None
) -> jax.stages.Compiled:
    """`lowered_step`, compiled with XLA's `options` over those that are ours for TPUs."""
    return _compile(lowered_step(train_step, mesh, state, batch), mesh, options)


def _compile(lowered: jax.stages.Lowered, mesh: Mesh, options: dict | None) -> jax.stages.Compiled:
    ours = TPU_OPTIONS if mesh.devices.flat[0].platform == "tpu" else {}
    return lowered.compile({**ours, **(options or {})} or None)


class CompiledStep:
    """A train step, jitted with the state's own shardings and compiled once for each shape of batch.

    The state is donated: the step reuses its memory, and the caller's reference is dead after the call.
    """

    def __init__(
        self, train_step: Callable, mesh: Mesh, say: Callable[[str], None], compiler_options: dict | None = None
    ):
        self._train_step = train_step
        self._options = compiler_options
        self._mesh = mesh
        self._say = say
        self._compiled: dict[tuple, jax.stages.Compiled] = {}

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        """The next state and this step's metrics; nothing waits for the devices."""
        if signature(batch) not in self._compiled:
            self.prepare(state, [batch])
        return self._compiled[signature(batch)](state, batch)

    def prepare(self, state: TrainState, batches: Sequence[PyTree]) -> None:
        """Compiles for every shape among `batches` (arrays, or shapes with shardings), side by side.

        Python traces one program after the other; XLA compiles them on as many threads as there are processors for.
        """
        new = {signature(batch): batch for batch in batches}
        new = {key: batch for key, batch in new.items() if key not in self._compiled}
        if not new:
            return
        for key in new:
            name, shape, _ = max(key, key=lambda entry: math.prod(entry[1]))  # the largest tells them apart
            self._say(f"compiling, once for batches of {name} {list(shape)} …")
        start = time.perf_counter()
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // THREADS)) as pool:
            waiting = {
                key: pool.submit(
                    _compile, lowered_step(self._train_step, self._mesh, state, batch), self._mesh, self._options
                )
                for key, batch in new.items()
            }
            self._compiled |= {key: future.result() for key, future in waiting.items()}
        self._say(f"compiled in {time.perf_counter() - start:.1f} s")
        # Gloo, which joins CPUs, lets no one be more than 30 seconds late to the first of its collectives.
        ocp.multihost.get_barrier_sync_fn()(key="compiled", timeout_ms=LATEST * 1000)
