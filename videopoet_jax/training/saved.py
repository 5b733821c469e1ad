"""What lies in a run's folder, looked at without the run: its steps, whether they are whole, and their arrays.

    [found.state for found in listed(workdir)]                 ["complete", "damaged", "partial"]
    saved = open_step(workdir)                                 the newest finished one, verified
    saved.config, saved.arrays["params.layers.mlp.up"][2]      parts of arrays, read when they are asked for

Only files are read: no device is taken, so a run may go on meanwhile.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.pretrained.tensors import FLOATS, Tensor
from videopoet_jax.training import manifest
from videopoet_jax.training.folders import Folder, files, gone, is_address
from videopoet_jax.training.folders import folder as place_of
from videopoet_jax.training.manifest import CheckpointError

# `00000100`, a damaged step that was set aside, one that is being removed, or what Orbax has not committed.
_FOLDER = re.compile(r"(\d+)(\.damaged|\.removed|\.orbax-checkpoint-tmp.*)?", re.ASCII)
COMPLETE, DAMAGED, PARTIAL = "complete", "damaged", "partial"


class Found(NamedTuple):
    """A folder of a step.

    Attributes:
        state: "complete"; "damaged": the manifest or a file is not what it was; "partial": never finished.
        problem: what is damaged.
        written: when, in seconds since 1970.
        size: bytes.
    """

    step: int
    folder: Folder
    state: str
    problem: str
    written: float
    size: int


class Saved(NamedTuple):
    """A finished step. `arrays` are named as in its manifest: `params.layers.mlp.up`, `ema_params…`, `extra…`."""

    step: int
    folder: Folder
    config: dict | None
    arrays: Mapping[str, Tensor]


def directory_of(workdir: str | Folder) -> Folder:
    """Where a run keeps its checkpoints."""
    place = place_of(workdir)
    return (place if is_address(place) else place.absolute()) / "checkpoints"


def folder_of(directory: Folder, step: int) -> Folder:
    """Where step `step` lies: `100 → checkpoints/00000100`"""
    return directory / f"{step:08d}"


def finished(directory: Folder) -> list[int]:
    """The finished steps, oldest first; empty, partial and foreign folders are none. Reads no array."""
    folders = directory.iterdir() if directory.is_dir() else ()
    numbers = sorted(int(f.name) for f in folders if f.name.isascii() and f.name.isdigit())
    return [n for n in numbers if manifest.looks_complete(folder_of(directory, n))]


def listed(workdir: str | Folder) -> list[Found]:
    """Every folder of a step, oldest first. Sizes are compared, digests are not (`manifest.verify`).

    What a run removes meanwhile is not among them.
    """
    directory, found = directory_of(workdir), []
    for folder in directory.iterdir() if directory.is_dir() else ():
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir():
            with contextlib.suppress(FileNotFoundError):
                one = _found(folder, int(match[1]), match[2] or "")
                if not gone(folder):
                    found.append(one)
    return sorted(found, key=lambda one: (one.step, one.folder.name))


def _found(folder: Folder, step: int, ending: str) -> Found:
    held = files(folder).values()
    written = max((file.written for file in held), default=0.0 if is_address(folder) else folder.stat().st_mtime)
    return Found(step, folder, *_state(folder, ending), written, sum(file.size for file in held))


def _state(folder: Folder, ending: str) -> tuple[str, str]:
    if ending == ".damaged" or (folder / manifest.ASIDE).exists():
        return DAMAGED, "set aside"
    if ending or not (folder / manifest.NAME).exists():
        return PARTIAL, ""
    problem = manifest.missing(folder)
    return (DAMAGED, problem) if problem else (COMPLETE, "")


@contextlib.contextmanager
def while_kept(folder: Folder) -> Iterator[None]:
    """What goes wrong in here because a run removes the step meanwhile is told so.

    Raises:
        CheckpointError: in place of whatever else, if the folder is gone.
    """
    try:
        yield
    except Exception as error:
        if gone(folder):
            raise CheckpointError(f"{folder}: its run has removed it meanwhile; take a newer step.") from error
        raise


def existing(directory: Folder, step: int) -> Folder:
    """The folder of a step, finished or not.

    Raises:
        CheckpointError: there is none.
    """
    folder, steps = folder_of(directory, step), ", ".join(map(str, finished(directory)))
    if not folder.is_dir():
        raise CheckpointError(f"step {step}: not in {directory}; its steps are {steps or 'none'}.")
    return folder


def open_step(workdir: str | Folder, step: int | None = None) -> Saved:
    """Step `step`, or the newest finished one, after comparing every digest.

    Raises:
        CheckpointError: no such step, or a damaged one; here or when arrays are read: one that its run has removed.
    """
    directory = directory_of(workdir)
    steps = finished(directory)
    if not steps and step is None:
        raise CheckpointError(f"{directory}: no finished step; give the --workdir of a run that has saved one.")
    folder = existing(directory, steps[-1] if step is None else step)
    with while_kept(folder):
        body = manifest.verify(folder)
        try:
            config = json.loads((folder / "config" / "metadata").read_text(encoding="utf-8"))["config"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"{folder}: no config in it ({error}); restore another step.") from error
    numbers = {name: kind for name, kind in body["arrays"].items() if not kind[1].startswith("key<")}  # no random keys
    arrays = {name: _array(folder, name, *kind) for name, kind in numbers.items()}
    return Saved(body["step"], folder, config, arrays)


def _array(folder: Folder, name: str, shape: list[int], dtype: str) -> Tensor:
    """An array as Orbax has written it: Zarr in an OCDBT database, whose parts TensorStore reads."""
    state = folder / "state"
    base = str(state) if is_address(state) else state.as_uri()

    def read(part: Any) -> np.ndarray:
        import tensorstore

        store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        with while_kept(folder):
            array = tensorstore.open({"driver": "zarr", "kvstore": store}, read=True, open=True).result()
            return np.asarray(array[part].read().result())

    return Tensor(tuple(shape), FLOATS.get(dtype) or np.dtype(dtype), read)
