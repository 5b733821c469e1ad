"""The manifest of a finished checkpoint: its marker, and a digest of every file beside it.

Orbax restores a flipped bit without a word and takes an empty folder for a step. So a folder counts as a step only
once `manifest.json` lies in it, written last and renamed into place, and nothing is restored before every file's
digest has been compared.

Several processes share the work: each digests, and before restoring compares, every n-th file, and all learn what any
of them found (`share`).

    {"step": 100, "arrays": {"params.w": [[4, 8], "float32"]}, "files": {"state/d/1d7e": [512, "9f86…"]}, "sha256": "…"}
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from videopoet_jax.parallel.together import count, number, together
from videopoet_jax.training.folders import Folder, files, is_address, size

NAME, ASIDE = "manifest.json", "manifest.json.damaged"
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


def sha256(path: Folder) -> str:
    """The hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _seal(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def share(names: list[str], process: int, of: int) -> list[str]:
    """The files that a process answers for: `a b c d e, process 1 of 2 → b d`"""
    return names[process::of]


def _digest(path: Folder) -> list:
    return [size(path), sha256(path)]


def _digests(folder: Folder, names: list[str]) -> dict[str, list]:
    """`a b → {"a": [size, digest], "b": …}`"""
    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
        return dict(zip(names, pool.map(lambda name: _digest(folder / name), names), strict=True))


def _files(folder: Folder) -> list[str]:
    return [name for name in files(folder) if name != NAME]


def write(folder: Folder, step: int, arrays: dict[str, list]) -> None:
    """Digests every file under `folder` and puts the manifest in place: from here on the step is complete.

    All processes call it, each digests its share, the first one writes; what goes wrong on one is raised on all.
    """
    first = number() == 0
    names = together("files", lambda: _files(folder) if first else None)[0]  # others may see them a little later
    parts = together("digests", lambda: _digests(folder, share(names, number(), count())))
    found = dict(sorted(entry for part in parts for entry in part.items()))
    together("manifest", lambda: _put(folder, {"step": step, "arrays": arrays, "files": found}) if first else None)


def _put(folder: Folder, body: dict) -> None:
    text = json.dumps({**body, "sha256": _seal(body)})
    if is_address(folder):
        (folder / NAME).write_text(text)  # an object appears whole or not at all
        return
    temporary = folder / f"{NAME}.tmp"
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / NAME)


def set_aside(folder: Folder) -> None:
    """The step is one no more: its manifest gets another name."""
    (folder / ASIDE).write_bytes((folder / NAME).read_bytes())
    (folder / NAME).unlink()


def read(folder: Folder) -> dict:
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
            f"{folder}: no {NAME}, so this step is not finished (unless its run is at it, it never will be); restore "
            f"another."
        ) from error
    except (ValueError, KeyError, AttributeError, UnicodeDecodeError):
        intact = False
    if not intact:
        raise CheckpointError(f"{path}: does not match its own digest; restore another step.")
    return body


def missing(folder: Folder) -> str | None:
    """What `folder` lacks of an intact manifest and files of the right sizes; quick, it reads no array."""
    try:
        wanted, found = read(folder)["files"], files(folder)
    except (CheckpointError, OSError) as error:
        return str(error)
    sizes = {name: stat.size for name, stat in found.items()}
    problems = (_wrong_size(folder / name, size, sizes.get(name)) for name, (size, _) in sorted(wanted.items()))
    return next((problem for problem in problems if problem), None)


def added(folder: Folder) -> str | None:
    """Which file of `folder` is none of its manifest's, if any; a restore reads none of those."""
    held = read(folder)["files"]
    more = [name for name in _files(folder) if name not in held]
    return f"{folder / more[0]}: not there when the step was saved; move it elsewhere." if more else None


def looks_complete(folder: Folder) -> bool:
    """Whether nothing is `missing`."""
    return missing(folder) is None


def _wrong_size(path: Folder, wanted: int, found: int | None) -> str | None:
    if found is None:
        return f"{path}: missing from the checkpoint; restore another step."
    return None if found == wanted else f"{path}: {found} bytes, must be {wanted}; restore another step."


def _damage(path: Folder, wanted: int, digest: str) -> str | None:
    """What is wrong with a file, if anything."""
    try:
        if problem := _wrong_size(path, wanted, size(path)):
            return problem
        if sha256(path) != digest:
            return f"{path}: its sha256 is not the one it was saved with; restore another step."
    except FileNotFoundError:
        return _wrong_size(path, wanted, None)
    except OSError as error:
        return f"{path}: cannot be read ({error}); mend the disk or restore another step."
    return None


def _first_damage(folder: Folder) -> tuple[int, str] | None:
    """(number, what is wrong) of the first damaged file in this process's share, the files being counted by name."""
    try:
        wanted = read(folder)["files"]
    except CheckpointError as error:
        return -1, str(error)
    names = sorted(wanted)
    with ThreadPoolExecutor(4) as pool:
        problems = pool.map(lambda name: _damage(folder / name, *wanted[name]), share(names, number(), count()))
    return next(((number() + i * count(), problem) for i, problem in enumerate(problems) if problem), None)


def verify(folder: Folder) -> dict:
    """The manifest of `folder`, after comparing size and digest of every file.

    All processes call it, each compares its share, and all raise the same.

    Raises:
        CheckpointError: names the first file that is missing, cut short or changed.
    """
    found = [damage for damage in together("verify", lambda: _first_damage(folder)) if damage]
    if found:
        raise CheckpointError(min(found)[1])
    return read(folder)
