"""A manifest → its entries, one after another: it is never held whole, and a bad line costs that line alone.

clips.csv      path,caption,start,end
               a.mp4,"a dog, running",,2.5       →  Entry(2, "a.mp4", "a dog, running", 0.0, 2.5)
clips.jsonl    {"path": "b/7.png", "label": 3}   →  Entry(1, "b/7.png", "", 0.0, None)
clips.parquet  the same columns, by pyarrow (extra `data`); other columns are left alone
"""

import csv
import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from videopoet_jax.data.clip_files import MAX_LINE, PICTURE_SUFFIXES, inside
from videopoet_jax.data.media_open import MAX_SECONDS, MediaError, open_local

COLUMNS = ("path", "caption", "start", "end")
SURE_AFTER = 1_000  # ours: bad lines after which "more than half are bad" is said without reading to the end
SHOWN = 10  # bad lines that are logged one by one
_ROWS = 1_024  # of a parquet file that are Python objects at a time
_LOG = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A good line: `path` lies inside the manifest's folder and is relative to it; `end` None is the end of the film.

    `line` counts from 1, the header of a csv included; in parquet it is the row.
    """

    line: int
    path: str
    caption: str
    start: float
    end: float | None


def read_manifest(path: str | os.PathLike, on_skip: Callable[[int, str], None] | None = None) -> Iterator[Entry]:
    """The entries of a `.jsonl`, `.csv` or `.parquet`; `on_skip` is told of each line that is left out, its
    number and why.

    Left out, since a million lines must not be lost for one: what is no entry, a path that leads out of the manifest's
    folder (absolute, `..`, an address, a link) or to no file, and times that are no stretch. Nothing that a line
    names is opened here. Without `on_skip` the first ten are logged; how many there were is logged in any case.

    Raises:
        FileNotFoundError, MediaError: no manifest, nothing in it, no column `path`, or more than half of the lines are
            bad: then it is the manifest that is wrong.
    """
    path = Path(path)
    read, rule = _FORMATS[path.suffix.lower()]
    good, bad, first = 0, 0, ""
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: empty, there is no film in it; write a line for each.")
    with io.BufferedReader(open_local(path)) as file:
        for line, values in read(file, path):
            where = f"{path}, line {line}"
            try:
                if values is None:
                    raise MediaError(f"{where}: {rule}; correct it.")
                entry = _entry(path.parent, values, line, where)
            except MediaError as error:
                bad, first = bad + 1, first or str(error)
                if on_skip is not None:
                    on_skip(line, str(error))
                elif bad <= SHOWN:
                    _LOG.warning("left out: %s", error)
                if bad >= SURE_AFTER and bad > good:
                    break
            else:
                good += 1
                yield entry
    if bad > good:
        raise MediaError(f"{path}: {bad:,} of {good + bad:,} lines are bad, at most half may be; the first: {first}")
    if not good:
        raise MediaError(f"{path}: no entry, there is no film in it; write a line for each.")
    if bad:
        _LOG.warning("%s: %d of %d lines left out.", path, bad, good + bad)


def _entry(root: Path, values: dict[str, Any], line: int, where: str) -> Entry:
    name, caption = values.get("path"), values.get("caption")
    if not isinstance(name, str):
        raise MediaError(f"{where}: path {name!r}: text is needed, a file's path relative to {root}; correct it.")
    name = inside(root, name, where)
    if not os.path.isfile(root / name):
        raise MediaError(f"{where}: path {name[:200]!r}: no such file in {root}; correct the path, or put it there.")
    if caption is not None and (not isinstance(caption, str) or len(caption) > MAX_LINE):
        raise MediaError(
            f"{where}: caption {str(caption)[:80]!r}: one text of up to {MAX_LINE:,} characters is needed."
        )
    start, end = _seconds(values.get("start"), "start", where) or 0.0, _seconds(values.get("end"), "end", where)
    if end is not None and end <= start:
        raise MediaError(f"{where}: from {start:g} s to {end:g} s: end must be later than start; correct it.")
    if Path(name).suffix.lower() in PICTURE_SUFFIXES and (start, end) != (0.0, None):
        raise MediaError(f"{where}: path {name[:200]!r}: a picture has no start and no end; leave them empty.")
    return Entry(line, name, (caption or "").strip(), start, end)


def _seconds(value: Any, column: str, where: str) -> float | None:
    """Seconds; None where there is no value, or an empty one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    seconds = math.nan
    if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except (ValueError, OverflowError):
            seconds = math.nan
    if not 0 <= seconds <= MAX_SECONDS:  # NaN is not, either
        raise MediaError(
            f"{where}: {column} {str(value)[:80]!r}: seconds from 0 to {MAX_SECONDS:,} are needed, such as 12.5."
        )
    return seconds


_Rows = Iterator[tuple[int, dict[str, Any] | None]]  # a line's number, and its columns if it can be read


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """Numbered lines; one longer than `MAX_LINE` bytes is passed over in pieces, and is None."""
    number = 0
    while data := file.readline(MAX_LINE):
        number += 1
        if len(data) == MAX_LINE and not data.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, data.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")


def _jsonl(file: BinaryIO, path: Path) -> _Rows:
    for number, line in _lines(file):
        if line is None or line.strip():
            try:
                values = json.loads(line) if line else None
            except (ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
                values = None
            yield number, values if isinstance(values, dict) else None


def _csv(file: BinaryIO, path: Path) -> _Rows:
    header: list[str] | None = None
    for number, row in _csv_rows(file):
        if header is None:
            header = [name.strip() for name in row or ()]
            _check_columns(header, path)
        else:
            yield number, dict(zip(header, row, strict=True)) if row and len(row) == len(header) else None


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, list[str] | None]]:
    """Rows, and None for what is none. A quoted field may go over several lines, a row over `MAX_LINE` characters."""
    first, held, size, quotes = 1, [], 0, 0
    for number, line in _lines(file):
        if line is not None:
            held.append(line)
            size, quotes = size + len(line), quotes + line.count('"')
        if line is None or quotes % 2 == 0 or size > MAX_LINE:  # no quote is open, or it never closes
            yield from _parsed(held, first)
            first, held, size, quotes = number + 1, [], 0, 0
        if line is None:
            yield number, None
    yield from _parsed(held, first)


def _parsed(lines: list[str], first: int) -> Iterator[tuple[int, list[str] | None]]:
    reader, number = csv.reader(lines, strict=True), first
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            yield number, None
        else:
            if row is None:
                return
            if row:
                yield number, row
        number = first + reader.line_num


def _parquet(file: BinaryIO, path: Path) -> _Rows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MediaError(
            f"{path}: parquet is read by pyarrow, which is not installed; pip install 'videopoet_jax[data]', or give a "
            ".jsonl or .csv."
        ) from error
    number = 0
    try:
        table = ParquetFile(file)
        _check_columns(table.schema_arrow.names, path)
        columns = [name for name in COLUMNS if name in table.schema_arrow.names]
        for group in range(table.num_row_groups):  # all at once would be read ahead
            for rows in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
                for row in range(rows.num_rows):
                    number += 1
                    yield number, _row(rows, row)
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MediaError(
            f"{path}: no parquet file, or damaged after row {number:,} ({reason}); get it again."
        ) from error


def _row(rows: Any, row: int) -> dict[str, Any] | None:
    try:
        return {name: rows.column(name)[row].as_py() for name in rows.schema.names}
    except (ValueError, OverflowError):  # text that is not UTF-8, a time beyond all calendars
        return None


def _check_columns(names: list[str], path: Path) -> None:
    if "path" not in names:
        raise MediaError(
            f"{path}: columns {', '.join(names)[:200]}: one named 'path' is needed, and 'caption', 'start', 'end' if "
            "there are such; rename them in the first line."
        )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise MediaError(f"{path}: {names.count(name)} columns are named {name!r}; rename all but one.")


_FORMATS: dict[str, tuple[Callable[[BinaryIO, Path], _Rows], str]] = {
    ".jsonl": (_jsonl, f'one JSON object {{"path": "a.mp4", "caption": "…"}} in up to {MAX_LINE:,} bytes is needed'),
    ".csv": (_csv, f"as many fields as the first line has, in up to {MAX_LINE:,} bytes, are needed; quote commas"),
    ".parquet": (_parquet, "path and caption as UTF-8 text, start and end as numbers are needed"),
}
SUFFIXES = frozenset(_FORMATS)
