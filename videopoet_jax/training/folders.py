"""Folders on this machine, or on a share, and in a bucket of Google Cloud Storage, by one name.

    folder("runs/lm")               a pathlib.Path
    folder("gs://bucket/runs/lm")   an etils.epath.Path of the same methods (extra `gcs`)

A run's checkpoints go into the bucket as they are written. What it writes beside them (metrics, pictures, traces) lies
in a copy on this machine, which is brought up to date in the bucket whenever a step is saved or evaluated:

    with Workdir("gs://bucket/runs/lm") as workdir:
        workdir.place, workdir.local         the bucket's folder, and the copy; of a local folder both are itself
        workdir.push()
"""

import contextlib
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

ADDRESS = re.compile(r"^gs:/{1,2}(?=[^/])")  # also as pathlib would have it
# What is not copied from the bucket when a run goes on: large, or never read again.
STAYS = ("checkpoints", "compiled", "pictures", "profile", "tensorboard")
REMOVED = ".removed"
Folder = os.PathLike


class Stat(NamedTuple):
    """Of a file: bytes, and when it was written, in seconds since 1970."""

    size: int
    written: float


def is_address(place: Any) -> bool:
    """Whether this is a place in a bucket: `gs://bucket/run → True`"""
    return bool(ADDRESS.match(os.fspath(place)))


def folder(place: str | os.PathLike) -> Folder:
    """A place as a path, wherever it is.

    Raises:
        ValueError: a place in a bucket, and what reads those is not installed.
    """
    if not is_address(place):
        return Path(place)
    address = ADDRESS.sub("gs://", os.fspath(place))
    if importlib.util.find_spec("gcsfs") is None:
        raise ValueError(
            f"{address}: gcsfs is not installed, which reads and writes there; pip install 'videopoet_jax[gcs]'."
        )
    os.environ.setdefault("EPATH_USE_TF", "0")  # else it imports TensorFlow where that is installed
    from etils import epath

    return epath.Path(address)


def _system() -> Any:
    import fsspec

    system = fsspec.filesystem("gs")
    system.invalidate_cache()  # others write there, too
    return system


def files(place: Folder) -> dict[str, Stat]:
    """All files below a folder, by their names relative to it: `{"state/d/1d7e": Stat(512, 1.7e9)}`

    What others remove meanwhile is not among them.
    """
    if is_address(place):
        found, start = _system().find(os.fspath(place), detail=True), len(os.fspath(place)) - len("gs://") + 1
        return {path[start:]: Stat(entry["size"], _seconds(entry)) for path, entry in sorted(found.items())}
    found = {}
    for parent, _, names in os.walk(place, onerror=_unless_gone):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if S_ISREG(stat.st_mode):
                    found[str(path.relative_to(place))] = Stat(stat.st_size, stat.st_mtime)
    return dict(sorted(found.items()))


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _seconds(entry: dict) -> float:
    import datetime

    return datetime.datetime.fromisoformat(entry["updated"]).timestamp() if "updated" in entry else 0.0


def size(path: Folder) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    return _system().info(os.fspath(path))["size"] if is_address(path) else Path(path).stat().st_size


def remove(place: Folder) -> None:
    """A folder with all that is in it."""
    if is_address(place):
        _system().rm(os.fspath(place), recursive=True)
    else:
        shutil.rmtree(place)


def _mark(place: Folder) -> Folder:
    return place.with_name(f"{place.name}{REMOVED}")


def drop(place: Folder) -> None:
    """As `remove`, but a removal that is killed can be told, and ended (`end_drop`): `00000002 → 00000002.removed`, and
    that is removed.

    A bucket would copy every file for a new name; there a file of that name lies beside the folder until all is gone.
    """
    mark = _mark(place)
    if is_address(place):
        mark.write_text("being removed")
    else:
        place.rename(mark)
    end_drop(mark)


def end_drop(mark: Folder) -> None:
    """Removes what `drop` has begun to, by the name that ends in `.removed`."""
    if not is_address(mark):
        remove(mark)
        return
    place = mark.with_name(mark.name.removesuffix(REMOVED))
    if files(place):
        remove(place)
    mark.unlink()


def gone(place: Folder) -> bool:
    """Whether a folder that was there is so no more, or is being dropped."""
    return not files(place) or _mark(place).exists() if is_address(place) else not place.is_dir()


class Workdir:
    """A run's folder.

    Attributes:
        place: where its checkpoints lie, for all processes.
        local: what this process writes beside them; of a local folder the same.
    """

    def __init__(self, place: str | os.PathLike):
        self.place = folder(place)
        self.local = self.place
        self._pushed: dict[str, Stat] = {}

    def __enter__(self) -> "Workdir":
        if is_address(self.place):
            self._temporary = tempfile.TemporaryDirectory(prefix="videopoet-")
            self.local = Path(self._temporary.name)
            for name in files(self.place):
                if name.split("/")[0] not in STAYS:
                    (self.local / name).parent.mkdir(parents=True, exist_ok=True)
                    (self.local / name).write_bytes((self.place / name).read_bytes())
            self._pushed = files(self.local)
        return self

    def __exit__(self, *_: Any) -> None:
        if self.local is not self.place:
            try:
                self.push()
            finally:
                self._temporary.cleanup()
                self.local = self.place

    def push(self) -> None:
        """Writes into the bucket what has changed in the copy."""
        if self.local is self.place:
            return
        for name, stat in files(self.local).items():
            if self._pushed.get(name) != stat:
                (self.place / name).write_bytes((self.local / name).read_bytes())
                self._pushed[name] = stat
