"""The training loop of every model: read it top to bottom.

state = fit(state=state, train_step=make_train_step(loss_fn, optimizer, ema_decay=0.999), batches=loader,
            steps=5000, mesh=mesh, workdir="runs/lm", checkpoint_every=500, log_every=20)
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.parallel import batch_sharding
from videopoet_jax.training.agreement import changes, plain
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.compilation import CompiledStep
from videopoet_jax.training.folders import Folder, Workdir
from videopoet_jax.training.lock import sole_run
from videopoet_jax.training.meter import Meter, Work
from videopoet_jax.training.metrics import Reporter, Window, steps_in_flight
from videopoet_jax.training.nonfinite import ABORT, MOST, ROLL_BACK, SKIP, NonFinite, skipping
from videopoet_jax.training.profile import Profiler
from videopoet_jax.training.signals import Stopped, StopSignal
from videopoet_jax.training.state import TrainState
from videopoet_jax.training.step import TrainStep

# Entries of a batch that name its examples: reported when something goes wrong, never sent to the devices.
ID_KEYS = ("example", "stream", "part")


@runtime_checkable
class Batches(Protocol):
    """An iterator over host batches (dicts of arrays, this process's rows) that can say and take back where it is."""

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> dict: ...

    def set_state(self, state: dict) -> None: ...

    def ahead(self, steps: int) -> list[dict[str, np.ndarray]]:
        """A batch of every shape among the next `steps`."""
        ...


def split_ids(batch: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`{"video": …, "example": …} → ({"video": …}, {"example": …})`"""
    ids = {name: value for name, value in batch.items() if name in ID_KEYS}
    return {name: value for name, value in batch.items() if name not in ID_KEYS}, ids


def on_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and shardings of what `to_devices` makes of a batch."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]

    def place(name: str, rows: np.ndarray) -> jax.ShapeDtypeStruct:
        total = rows.shape[0] * jax.process_count() if rows.ndim else 0
        if total == 0 or total % parts:
            raise ValueError(
                f"batch[{name!r}] of shape {rows.shape}: its {total} rows do not divide over {parts} devices "
                f"(mesh axes data and fsdp); choose a batch size that is a multiple of {parts}."
            )
        dtype = jax.dtypes.canonicalize_dtype(rows.dtype)
        return jax.ShapeDtypeStruct((total, *rows.shape[1:]), dtype, sharding=batch_sharding(mesh))

    return {name: place(name, np.asarray(rows)) for name, rows in batch.items()}


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows as part of global arrays, split over the mesh by their first dimension."""
    places = on_devices(batch, mesh)
    return {
        name: jax.make_array_from_process_local_data(places[name].sharding, np.asarray(rows))
        for name, rows in batch.items()
    }


def next_rows(batches: Batches, step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """This process's rows of the batch of `step`, and the ids of its examples."""
    try:
        return split_ids(next(batches))
    except StopIteration:
        raise ValueError(
            f"the data ended before step {step}; repeat it (num_epochs=None) or train fewer steps."
        ) from None


def without_frozen(state: TrainState) -> TrainState:
    """What a checkpoint holds of a state: all but the frozen networks in its `extra`."""
    return state.replace(extra={name: value for name, value in state.extra.items() if name != FROZEN})


def resume(
    checkpoints: Checkpoints, state: TrainState, batches: Batches, config: Any, *, fallback: bool, say: Callable
) -> tuple[TrainState, int]:
    """The newest checkpoint's state and step, the data set to its next batch; `state` and 0 if there is none.

    Frozen networks stay those of `state`.
    """
    restored = checkpoints.restore(without_frozen(state), fallback=fallback)
    if restored is None:
        return state, 0
    batches.set_state(restored.loader_state)
    for leaf in jax.tree.leaves(without_frozen(state)):
        leaf.delete()  # its memory would otherwise stay taken for as long as the caller holds on to it
    say(f"resuming after step {restored.step} from {checkpoints.folder(restored.step)}")
    for line in changes(restored.config, config):
        say(f"changed since then: {line}")
    frozen = {name: value for name, value in state.extra.items() if name == FROZEN}
    return restored.state.replace(extra={**restored.state.extra, **frozen}), restored.step


def fit(
    *,
    state: TrainState,
    train_step: TrainStep,
    batches: Batches,
    steps: int,
    mesh: Mesh,
    workdir: str | Folder | Workdir,
    checkpoint_every: int,
    log_every: int,
    evaluate_every: int | None = None,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    work: Callable[[dict], Work] | None = None,
    profile: range = range(0),
    non_finite: str = ABORT,
    config: Any = None,
    max_to_keep: int = 2,
    fallback: bool = False,
    compiler_options: dict | None = None,
) -> TrainState:
    """Trains up to step `steps`, going on from the newest checkpoint in `workdir` if there is one.

    Args:
        state: the state to start from; its memory is reused, so use the returned one afterwards.
        batches: see `Batches`; entries named in `ID_KEYS` stay on the host.
        workdir: a folder here, or `gs://bucket/…`; a `Workdir` that the caller writes into, too.
        evaluate: `state → metrics`, called every `evaluate_every` steps and at the end; stored as `eval/…`.
        work: `a process's rows → Work`, for tokens a second, padding and MFU (`training.meter`).
        profile: steps to trace; SIGUSR1 traces the next few at any time (`training.profile`).
        non_finite: what to do at a loss or gradient that is NaN or infinite, of `nonfinite.POLICIES`.
        config: a ConfigDict or anything JSON holds; saved with every checkpoint, changes are told when resuming.
        max_to_keep: how many checkpoints stay on disk.
        fallback: if the newest checkpoint is damaged, go on from the one before instead of refusing.
        compiler_options: XLA's options for the step; a run must keep them to go on bit for bit.

    Raises:
        NonFinite: a loss or gradient norm is NaN or infinite, once or too often; the last checkpoint stands.
        CheckpointError: a checkpoint could not be written, or the one to resume from is damaged.
        Occupied: another run trains in `workdir`.
        Stopped: SIGTERM or Ctrl-C came, and the step is saved (exit code 75).
    """
    with (
        jax.set_mesh(mesh),
        nullcontext(workdir) if isinstance(workdir, Workdir) else Workdir(workdir) as run,
        sole_run(run.place),
        Checkpoints(run.place, max_to_keep=max_to_keep) as checkpoints,
        Reporter(run.local, steps) as report,
        Profiler(run.local, profile, report.say) as profiler,
        StopSignal() as stop,
    ):
        config = plain(config)
        state, first = resume(checkpoints, state, batches, config, fallback=fallback, say=report.say)
        report.begin(first)
        guarded = skipping(train_step) if non_finite == SKIP else train_step
        compiled = CompiledStep(guarded, mesh, report.say, compiler_options)
        compiled.prepare(state, [on_devices(split_ids(batch)[0], mesh) for batch in batches.ahead(steps - first)])
        window, meter = Window(steps_in_flight(), report.say), Meter(mesh, work)

        step, rolled_back, stopping = first, 0, False
        while step < steps:
            step += 1
            try:
                rows, ids = next_rows(batches, step)
                with profiler.step(step, window.drain):
                    state, metrics = compiled(state, to_devices(rows, mesh))
                window.add(step, ids, metrics)
                meter.add(rows)
                if step == first + 1:
                    window.drain()
                    report.restart_clock(step)
                    meter.restart()
                stopping = stop.requested()
                if step % log_every == 0 or step == steps:
                    report.progress(step, {**window.take(), **meter.take()})
                if step % checkpoint_every == 0 or step == steps or stopping:
                    window.drain()  # a state that is not finite is never saved
                    with meter.paused():
                        checkpoints.save(step, without_frozen(state), loader_state=batches.get_state(), config=config)
                        run.push()
                if evaluate is not None and (step == steps or (evaluate_every and step % evaluate_every == 0)):
                    window.drain()
                    with meter.paused():
                        report.store(step, {f"eval/{name}": value for name, value in evaluate(state).items()})
                        run.push()
            except NonFinite as error:
                rolled_back += 1
                if non_finite != ROLL_BACK or rolled_back > MOST or checkpoints.latest() is None:
                    raise
                report.say(f"rolled back, {rolled_back} of {MOST} times at most: {error}")
                read = batches.get_state()
                state, step = resume(checkpoints, state, batches, config, fallback=fallback, say=report.say)
                batches.set_state(read)  # what it has seen since the checkpoint is passed over
                report.rewind(step)
                window = Window(steps_in_flight(), report.say)
            checkpoints.check()
            if stopping:
                checkpoints.wait()
                report.say(f"stopped: step {step} is saved; the same command goes on from there")
                raise Stopped(step)
    return state
