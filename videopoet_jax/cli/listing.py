"""A source, listed once → shards of items where workers find them → what a worker makes of each, or why it cannot.

    Listing("films.csv")        count 3, failures [Failure("films.csv, line 4", "…: no such file …")]
    listing.place(out, 2, …)    progress/00000.items.jsonl  00001.items.jsonl       → [0, 1], the shards to be done
    attempted(listed, decode)   of b.mp4, which is cut off  → Failure("b.mp4", "b.mp4: not a video … or cut off …")

A line has the item and the size and time of its file: what has changed since is told from what has not, whether it is
between a stop and the next start or between the listing and the reading.
"""

import errno
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_LOG = logging.getLogger(__name__)
# What is wrong with one file; other errors of the system (EIO, ESTALE, ENOSPC …) are the machine's.
OF_A_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
             errno.ENXIO, errno.EFBIG, errno.EOVERFLOW}  # fmt: skip


class Listed(NamedTuple):
    """An item, and [bytes, nanoseconds] of its file when it was listed; None of no file."""

    item: Any
    file: list[int] | None

    def line(self) -> str:
        """In JSON, in ASCII: a path may hold bytes that are no text."""
        return json.dumps({**self.item._asdict(), "file": self.file}) + "\n"

    @classmethod
    def of(cls, line: str) -> "Listed":
        from videopoet_jax.data.items import Item

        fields = json.loads(line)
        file = fields.pop("file")
        return cls(Item(**fields), file)


def file_of(path: str | os.PathLike) -> list[int] | None:
    """[bytes, nanoseconds since 1970] of the file as it lies there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]


class Listing:
    """The items of a source that are `wanted`, read once.

    Attributes:
        count: how many there are.
        passed: how many are there that are not wanted.
        failures: one of each line of a manifest that is none.
        digest: of all that is known of the items.
    """

    def __init__(self, source: str | os.PathLike, wanted: Callable[[Any], bool] = lambda item: True) -> None:
        from videopoet_jax.data.items import items_of

        self.count, self.passed, self.failures, digest = 0, 0, [], hashlib.sha256()
        self._lines = tempfile.TemporaryFile("w+", encoding="ascii", newline="\n")  # noqa: SIM115
        name = Path(source).name
        for item in items_of(source, lambda line, why: self.failures.append(failure(f"{name}, line {line}", why))):
            if not wanted(item):
                self.passed += 1
                continue
            line = Listed(item, file_of(item.path)).line()
            self._lines.write(line)
            digest.update(line.encode())
            self.count += 1
        self.digest = digest.hexdigest()

    def place(
        self,
        directory: Path,
        size: int,
        failures_of: Callable[[Path, int], list[Any] | None],
        forget: Callable[[Path, int], None],
        retry: bool,
    ) -> list[int]:
        """Lays `size` items for every shard, and returns the shards that are yet to be made.

        Those are what `failures_of` knows nothing of; and of those with failures, the ones whose items have changed, or
        all to `retry`: what was made of them is forgotten first.

        Raises:
            ValueError: items have changed that a shard without failures was made of.
        """
        left, last = [], -(-self.count // size)
        self._lines.seek(0)
        for number in range(max(last, _laid(directory))):
            path = items_path(directory, number)
            lines = [line for _ in range(size) if number < last and (line := self._lines.readline())]
            before = path.read_text(encoding="ascii").splitlines(keepends=True) if path.is_file() else None
            failed = failures_of(directory, number)
            if failed == [] and before != lines:
                raise ValueError(
                    f"{directory}: shard {number} was made of other items: {_differing(before or [], lines)} has "
                    f"changed, come or gone; restore it, choose another name, or delete {directory}."
                )
            if failed and (retry or before != lines):
                forget(directory, number)
                failed = None
            if not lines:
                path.unlink(missing_ok=True)
            elif before != lines:
                _write(path, "".join(lines))
            if failed is None and lines:
                left.append(number)
        return left


def _differing(before: list[str], now: list[str]) -> str:
    for one, other in zip([*before, ""], [*now, ""], strict=False):
        if one != other:
            return repr(Listed.of(one or other).item.id)
    return "an item"


def items_path(directory: Path, number: int) -> Path:
    """Where the items of a shard lie."""
    from videopoet_jax.data.token_shards import PROGRESS

    return directory / PROGRESS / f"{number:05d}.items.jsonl"


def _laid(directory: Path) -> int:
    """Shards up to the last whose items lie there."""
    pattern = items_path(directory, 0).parent.glob("[0-9]*.items.jsonl")
    return max((int(path.name.partition(".")[0]) + 1 for path in pattern), default=0)


def _write(path: Path, text: str) -> None:
    from videopoet_jax.pretrained.files import write_atomically

    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="ascii"))


def listed_in(directory: Path, number: int) -> Iterator[Listed]:
    """What lies there for a shard."""
    with items_path(directory, number).open(encoding="ascii") as lines:
        yield from map(Listed.of, lines)


def attempted(listed: Listed, make: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    """What `make` makes of an item; a `Failure` behind it where that does not end well, and no more than this item is
    lost. An error of the machine goes up: it is not the item's, and the shard is made again.

    Raises:
        OSError: the machine's (a disk, a network).
    """
    import av

    item = listed.item
    try:
        if listed.file is not None and (now := file_of(item.path)) not in (None, listed.file):
            raise ValueError(f"{item.path}: has changed since it was listed, from {listed.file} to {now}; start again.")
        yield from make(item)
    except OSError as error:
        if error.errno is not None and error.errno not in OF_A_FILE and not isinstance(error, av.FFmpegError):
            raise
        yield failure(item.id, error)
    except ValueError as error:
        yield failure(item.id, error)
    except Exception as error:
        _LOG.warning("%s: nobody foresaw this", item.id, exc_info=error)
        yield failure(item.id, error)


def failure(name: str, error: Exception | str) -> Any:
    """A `Failure` of one line, which can be stored as text."""
    from videopoet_jax.cli.main import in_one_line
    from videopoet_jax.data.token_shards import Failure

    words = error if isinstance(error, str) else in_one_line(error)
    name, words = (text.encode("utf-8", "backslashreplace").decode() for text in (name, words))
    return Failure(name, " ".join(words.split()))
