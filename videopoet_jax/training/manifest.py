"""The manifest of a finished checkpoint: its marker, and a digest of every file beside it.

Orbax restores a flipped bit without a word and takes an empty folder for a step. So a folder counts as a step only
once `manifest.json` lies in it, written last and renamed into place, and nothing is restored before every file's
digest has been compared.

    {"step": 100, "arrays": {"params.w": [[4, 8], "float32"]}, "files": {"state/d/1d7e": [512, "9f86…"]}, "sha256": "…"}
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

NAME = "manifest.json"
CHUNK = 1 << 22
PyTree = Any


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or must not be read; the message is one line with a remedy."""


def describe(tree: PyTree) -> dict[str, list]:
    """Shape and dtype of every array, by path: `{"params": {"w": [4 8]}} → {"params.w": [[4, 8], "float32"]}`"""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): [list(leaf.shape), str(leaf.dtype)]
        for path, leaf in leaves
    }


def sha256(path: Path) -> str:
    """The hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _seal(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _hash_all(folder: Path, names: list[str]) -> list[str]:
    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
        return list(pool.map(lambda name: sha256(folder / name), names))


def write(folder: Path, step: int, arrays: dict[str, list]) -> None:
    """Digests every file under `folder` and puts the manifest in place: from here on the step is complete."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != NAME)
    files = {
        name: [(folder / name).stat().st_size, digest]
        for name, digest in zip(names, _hash_all(folder, names), strict=True)
    }
    body = {"step": step, "arrays": arrays, "files": files}
    temporary = folder / f"{NAME}.tmp"
    with temporary.open("w") as file:
        json.dump({**body, "sha256": _seal(body)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / NAME)


def read(folder: Path) -> dict:
    """The manifest of `folder`.

    Raises:
        CheckpointError: there is none, or it was changed after it was written.
    """
    path = folder / NAME
    try:
        body = json.loads(path.read_text())
        seal = body.pop("sha256")
        intact = seal == _seal(body)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: no {NAME}, so this step was never finished; restore another or remove the folder."
        ) from error
    except (ValueError, KeyError, AttributeError, UnicodeDecodeError):
        intact = False
    if not intact:
        raise CheckpointError(f"{path}: does not match its own digest; restore another step.")
    return body


def looks_complete(folder: Path) -> bool:
    """Whether `folder` has an intact manifest and files of the right sizes; quick, it reads no array."""
    try:
        return all((folder / name).stat().st_size == size for name, (size, _) in read(folder)["files"].items())
    except (CheckpointError, OSError):
        return False


def verify(folder: Path) -> dict:
    """The manifest of `folder`, after comparing size and digest of every file.

    Raises:
        CheckpointError: names the first file that is missing, cut short or changed.
    """
    body = read(folder)
    names = sorted(body["files"])
    for name in names:
        path, (size, _) = folder / name, body["files"][name]
        if not path.is_file():
            raise CheckpointError(f"{path}: missing from the checkpoint; restore another step.")
        if path.stat().st_size != size:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, must be {size}; restore another step.")
    for name, digest in zip(names, _hash_all(folder, names), strict=True):
        if digest != body["files"][name][1]:
            raise CheckpointError(
                f"{folder / name}: its sha256 is not the one it was saved with; restore another step."
            )
    return body
