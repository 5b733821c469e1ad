"""Checkpoints of a run: saved in the background by Orbax, digested, kept or dropped, restored on any mesh.

workdir/checkpoints/00000100/{state/ loader/ config/ manifest.json}

with Checkpoints(workdir, max_to_keep=3) as checkpoints:
    checkpoints.save(100, state, loader_state={"next_batch": 100}, config={…})   # returns at once
    checkpoints.check()                                                          # raises what went wrong since
    restored = checkpoints.restore(state)                                        # the newest; .step .state …
"""

import gc
import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from videopoet_jax.pretrained.tensors import LAYERS
from videopoet_jax.training import manifest, saved
from videopoet_jax.training.folders import REMOVED, Folder, drop, end_drop, is_address, remove
from videopoet_jax.training.manifest import CheckpointError

PyTree = Any
CHUNK = 1 << 26  # bytes; ours
log = logging.getLogger(__name__)


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives back."""

    step: int
    state: PyTree
    loader_state: dict | None
    config: dict | None


def _chunks(path: tuple, leaf: Any) -> ocp.SaveArgs:
    """Files hold arrays in pieces of at most so many bytes, and what is stacked layer by layer: so an export can read
    one layer without the others (`saved`)."""
    stacked = any(getattr(entry, "key", None) == LAYERS for entry in path) and getattr(leaf, "ndim", 0) > 1
    return ocp.SaveArgs(chunk_byte_size=CHUNK, shard_axes=(0,) if stacked else ())


def _same_everywhere(number: int) -> int:
    """Process 0's number, on every process."""
    return number if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def _check_fits(folder: Folder, saved: dict[str, list], wanted: dict[str, list]) -> None:
    """Raises unless the saved arrays have the names, shapes and dtypes wanted; Orbax would cast in silence."""
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            have, want = (f"{tree[name][1]} {tree[name][0]}" if name in tree else "absent" for tree in (saved, wanted))
            raise CheckpointError(
                f"{folder}: {name} is {have} in the checkpoint and {want} in this run; "
                f"use the config it was saved with, or train in another folder."
            )


def _check_space(directory: Folder, state: PyTree) -> None:
    """Makes `directory`, and raises unless `state` fits on its disk: a write that fails half-way is found out late."""
    directory.mkdir(parents=True, exist_ok=True)
    if is_address(directory):
        return
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(f"{needed / 1e9:.3f} GB needed, {free / 1e9:.3f} GB free")


class Checkpoints:
    """The checkpoints under `workdir/checkpoints`. All processes of a run call every method together."""

    def __init__(self, workdir: str | Folder, *, max_to_keep: int):
        if max_to_keep < 1:
            raise ValueError(f"max_to_keep {max_to_keep}: must be at least 1, or nothing could be resumed.")
        self.directory = saved.directory_of(workdir)
        self._max_to_keep = max_to_keep
        # Folders are made before `save` returns: one that fails in the background leaves Orbax waiting 10 minutes.
        options = ocp.AsyncOptions(create_directories_asynchronously=False)
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(), async_options=options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="finish_checkpoint")
        self._finishing: Future | None = None
        self._cleaned = False

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        try:
            self.wait()
        except CheckpointError:
            if kind is None:
                raise
            log.exception("while another error was on its way")
        finally:
            self._thread.shutdown()
            self._orbax.close()

    def folder(self, step: int) -> Folder:
        """Where step `step` lies: `100 → checkpoints/00000100`"""
        return saved.folder_of(self.directory, step)

    def steps(self) -> list[int]:
        """The finished steps, oldest first; empty, partial and foreign folders are none."""
        return saved.finished(self.directory)

    def latest(self) -> int | None:
        """The newest finished step, or None; the same on every process."""
        newest = _same_everywhere(max(self.steps(), default=-1))
        return None if newest < 0 else newest

    def save(self, step: int, state: PyTree, *, loader_state: dict | None, config: dict | None) -> None:
        """Copies `state` off the devices and returns; files, digests and pruning follow in the background.

        Waits first for a save that is still under way. `state` may be donated as soon as this returns.
        """
        self.wait()
        folder = self.folder(step)
        try:
            self._remove_leftovers()
            _check_space(self.directory, state)
            self._orbax.save(
                folder,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state, jax.tree_util.tree_map_with_path(_chunks, state)),
                    loader=ocp.args.JsonSave({"state": loader_state}),
                    config=ocp.args.JsonSave({"config": config}),
                ),
                force=True,  # an unfinished folder of this step may lie there
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: could not be saved ({_one_line(error)}); {REMEDY}") from error
        self._finishing = self._thread.submit(self._finish, step, manifest.describe(state))

    def _finish(self, step: int, arrays: dict[str, list]) -> None:
        """Waits for Orbax's commit, then marks the step as finished and drops the oldest ones."""
        self._orbax.wait_until_finished()
        manifest.write(self.folder(step), step, arrays)
        if jax.process_index() != 0:
            return
        others = [n for n in self.steps() if n != step]
        for old in others[: max(0, len(others) - self._max_to_keep + 1)]:
            drop(self.folder(old))

    def _remove_leftovers(self) -> None:
        """Removes what saves and removals that were killed have left, once, before this run's first save."""
        if not self._cleaned and jax.process_index() == 0:
            for leftover in self.directory.glob("*.orbax-checkpoint-tmp*"):
                remove(leftover)
            for leftover in self.directory.glob(f"[0-9]*{REMOVED}"):
                end_drop(leftover)
        self._cleaned = True

    def check(self) -> None:
        """Raises what went wrong in a background save, if anything; never waits.

        Raises:
            CheckpointError: the step could not be written; older steps are untouched.
        """
        if self._finishing is not None and self._finishing.done():
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is finished, and raises what went wrong (see `check`)."""
        finishing, self._finishing = self._finishing, None
        error = finishing.exception() if finishing is not None else None
        if error is not None:
            text = f"{self.directory}: the last checkpoint could not be saved ({_one_line(error)}); {REMEDY}"
            # Orbax has logged the traceback. The error is let go here, for it holds half-done writes that would
            # complain one by one when Python exits.
            del finishing, error
            gc.collect()
            raise CheckpointError(text)

    def restore(self, target: PyTree, step: int | None = None, *, fallback: bool = False) -> Restored | None:
        """A step, verified and laid out as `target` (arrays, or shapes with shardings); None if there is no step.

        Args:
            step: which; None for the newest finished one.
            fallback: if that one is damaged, set it aside (`00000100.damaged`) and take the next older.

        Raises:
            CheckpointError: a file of the step is damaged, or its arrays are not those of `target`.
        """
        self.wait()
        chosen = self.latest() if step is None else step
        if chosen is None:
            return None
        folder = self.folder(chosen)
        try:
            body = manifest.verify(folder)
        except CheckpointError as error:
            if not fallback or step is not None:
                raise
            log.warning("%s", error)
            self._set_aside(folder)
            return self.restore(target, fallback=True)
        _check_fits(folder, body["arrays"], manifest.describe(target))
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target)
        parts = dict(
            state=ocp.args.StandardRestore(shapes), loader=ocp.args.JsonRestore(), config=ocp.args.JsonRestore()
        )
        try:
            items = self._orbax.restore(folder, args=ocp.args.Composite(**parts))
            return Restored(chosen, items.state, items.loader["state"], items.config["config"])
        except Exception as error:  # a manifest that agrees with files which are no checkpoint: not of our writing
            raise CheckpointError(f"{folder}: no checkpoint ({_one_line(error)}); restore another step.") from error

    def _set_aside(self, folder: Folder) -> None:
        if jax.process_index() == 0 and is_address(folder):  # a bucket would copy every file
            manifest.set_aside(folder)
        elif jax.process_index() == 0:
            folder.rename(folder.with_name(f"{folder.name}.damaged"))
        _same_everywhere(0)  # nobody looks for the next step before it is gone


REMEDY = "free space on the disk or choose another folder, then start again: the last finished step is resumed."


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
