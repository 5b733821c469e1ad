"""Directories of token records that many processes write, a shard each, and go on writing after a stop.

    begin(out, plan)                   progress/plan.json: whoever goes on has the same plan, or is refused
    write_shard(out, 7, records)       00007.array_record (or .tfrecord), progress/00007.npy, progress/00007.json, so
    finish(out, 8, meta)               index.npy, failures.jsonl, meta.json: a TokenSource

A shard that is there is whole, since files appear under their names when they are, and equal records make equal bytes:
so a shard may be written twice, by a worker that was thought dead and by the one in its place. When all is done,
progress/ goes; where there were failures it stays, for these may be tried again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.tfrecords import FORMATS
from videopoet_jax.data.token_records import FIELDS, META, read_meta, save_rows, write_meta
from videopoet_jax.pretrained.files import put_in_place, write_atomically

PROGRESS, PLAN, FAILURES = "progress", "plan.json", "failures.jsonl"
_NAMED = 3  # differences of two plans that an error names


class Failure(NamedTuple):
    """What could not be made into records, and why."""

    id: str
    error: str


def digest_of(plan: Mapping[str, Any]) -> str:
    """SHA-256 of a plan: of finished records, `meta["made_of"]`."""
    return hashlib.sha256(_text(plan).encode()).hexdigest()


def _text(plan: Mapping[str, Any]) -> str:
    return json.dumps(plan, indent=1, sort_keys=True, default=str)  # ASCII: a path may hold bytes that are no text


def check(directory: Path, plan: Mapping[str, Any], made_of: str | None = None, retry: bool = False) -> bool:
    """Whether the directory is finished already, and of this very plan; `made_of` is what `meta` then says.

    To `retry`, finished records with failures count as begun.

    Raises:
        FileExistsError: it is finished and of another plan, or holds something else.
        ValueError: it was begun with another plan, and something has come of that.
    """
    path = directory / PROGRESS / PLAN
    if (directory / META).is_file() and not (retry and path.is_file()):
        if made_of is not None and read_meta(directory)["meta"].get("made_of") == made_of:
            return True
        more = ", or mend what failed and --retry-failures" if path.is_file() else ""
        raise FileExistsError(
            f"{directory}: finished, and made of another input or with other settings; choose another name{more}."
        )
    if path.is_file():
        found = _differences(json.loads(path.read_text(encoding="utf-8")), json.loads(_text(plan)))
        if found and _has_come(directory):
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            raise ValueError(
                f"{directory}: begun with another {', '.join(found[:_NAMED])}{more}; go on with that, choose another "
                f"name, or delete {directory}."
            )
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory}: not an empty directory, nor one that was begun; choose another name.")
    return False


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What two plans say otherwise.  `{"a": {"b": 2}}, {"a": {"b": 3}}  →  ["a.b (2, now 3)"]`"""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [found for key in keys for found in _differences(before.get(key), now.get(key), f"{name}.{key}")]
    if before == now:
        return []
    told = f" ({before}, now {now})" if max(len(str(before)), len(str(now))) <= 60 else ""
    return [name.removeprefix(".") + told]


def _has_come(directory: Path) -> bool:
    return any(directory.glob("[0-9]*.*record")) or any((directory / PROGRESS).glob("[0-9]*.npz"))


def begin(directory: Path, plan: Mapping[str, Any], retry: bool = False) -> None:
    """Makes the directory, or goes on in it; of another plan of which nothing has come yet nothing stays.

    Raises:
        FileExistsError, ValueError: as `check`.
    """
    check(directory, plan, retry=retry)
    (directory / META).unlink(missing_ok=True)
    path, text = directory / PROGRESS / PLAN, _text(plan)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        shutil.rmtree(directory / PROGRESS)
    if not path.is_file():
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def begun(directory: Path) -> bool:
    """Whether there is work to do here, as far as this machine sees."""
    return (directory / PROGRESS / PLAN).is_file()


def report_of(directory: Path, number: int) -> dict[str, Any] | None:
    """What a shard that is whole holds, `{"file": {"name", "records", …} or None, "failures": [[id, error], …]}`."""
    path = directory / PROGRESS / f"{number:05d}.json"
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    file = report["file"]
    if file and (size_of(directory / file["name"]) != file["bytes"] or _rows(path, file["records"]) is None):
        return None
    return report


def _rows(report: Path, records: int) -> np.ndarray | None:
    """The rows of the index that lie beside a report."""
    try:
        rows = np.load(report.with_suffix(".npy"), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.dtype == np.int32 and rows.shape == (records, len(FIELDS)) else None


def failures_of(directory: Path, number: int) -> list[Failure] | None:
    """What a shard that is whole could not make into records; None of one that is not."""
    report = report_of(directory, number)
    return None if report is None else [Failure(*failure) for failure in report["failures"]]


def forget(directory: Path, number: int) -> None:
    """Makes a shard one that is yet to be written."""
    for suffix in (".json", ".npy"):
        (directory / PROGRESS / f"{number:05d}{suffix}").unlink(missing_ok=True)
    for path in directory.glob(f"{number:05d}.*record"):
        path.unlink()


def size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def write_shard(
    directory: Path, number: int, records: Iterable[Mapping[str, Any] | Failure], form: str = "array_record"
) -> dict[str, Any]:
    """Writes a shard, in a form of `FORMATS`, and returns its report; one without records has no file."""
    progress, name = directory / PROGRESS, f"{number:05d}.{form}"
    temporary = directory / f".{name}.{os.getpid()}-{os.urandom(4).hex()}"
    failures: list[Failure] = []
    try:
        file, entry = None, None
        for record in records:
            if isinstance(record, Failure):
                failures.append(record)
                continue
            file = file or FORMATS[form](temporary)
            file.write(record)
        if file is not None:
            entry = file.close(name)
            rows = np.asarray(file.index, np.int32)
            put_in_place(temporary, directory / name)
            write_atomically(progress / f"{number:05d}.npy", lambda path: save_rows(path, rows))
    finally:
        temporary.unlink(missing_ok=True)
    report = {"file": entry, "failures": [list(failure) for failure in failures]}
    text = json.dumps(report, ensure_ascii=False)
    write_atomically(progress / f"{number:05d}.json", lambda path: path.write_text(text, encoding="utf-8"))
    return report


def finish(
    directory: Path,
    shards: int,
    meta: Mapping[str, Any],
    *,
    items: int | None = None,
    skipped: Iterable[Failure] = (),
    most: float = 1.0,
) -> dict[str, int]:
    """Makes a directory of whole shards one of records; returns how many `records` and `failures` there are.

    Args:
        items: of how many the shards were to be made, None where no failure is one too many.
        skipped: failures of before, which no shard has.
        most: share of all of these that may be failures.

    Raises:
        ValueError: a shard is missing, there is no record at all, or too many failures; failures.jsonl has them then.
    """
    found = [failures_of(directory, number) for number in range(shards)]
    if None in found:
        missing = found.index(None)
        raise ValueError(f"{directory}: shard {missing} of {shards} is not there; the same command makes it.")
    skipped = list(skipped)
    failures = [*skipped, *(failure for shard in found for failure in shard)]
    write_failures(directory, failures)
    reports = [report_of(directory, number) for number in range(shards)]
    whole = [number for number, report in enumerate(reports) if report["file"]]
    if not whole:
        first = f"; the first of {len(failures)} failures: {failures[0].error.rstrip('.')}" if failures else ""
        raise ValueError(f"{directory}: no records were made{first}; give clips that can be read.")
    if items is not None:
        check_failures(failures, items + len(skipped), most)
    rows = [_rows(directory / PROGRESS / f"{number:05d}.json", reports[number]["file"]["records"]) for number in whole]
    index = np.concatenate(rows).reshape(-1, len(FIELDS))
    remove_strays(directory)
    write_meta(directory, [reports[number]["file"] for number in whole], index, meta)
    if not failures:
        remove_progress(directory)
    return {"records": len(index), "failures": len(failures)}


def check_failures(failures: list[Failure], items: int, most: float) -> None:
    """Raises where more than a share of the items are failures: then it is not the items that are wrong."""
    if len(failures) > most * items:
        raise ValueError(
            f"{len(failures):,} of {items:,} items could not be read, at most {most:.0%} may be; the first: "
            f"{failures[0].error.rstrip('.')}; --retry-failures reads them again, --most-failures lets more pass."
        )


def remove_progress(directory: Path) -> None:
    """Removes what only the making needed."""
    shutil.rmtree(directory / PROGRESS, ignore_errors=True)


def remove_strays(directory: Path) -> None:
    """Removes files that workers which were killed had begun."""
    for stray in directory.glob(".[0-9]*.*"):
        stray.unlink(missing_ok=True)


def write_failures(directory: Path, failures: Iterable[Failure]) -> None:
    """Writes failures.jsonl; where there are none, there is no such file."""
    lines = "".join(json.dumps(failure._asdict(), ensure_ascii=False) + "\n" for failure in failures)
    if lines:
        write_atomically(directory / FAILURES, lambda path: path.write_text(lines, encoding="utf-8"))
    else:
        (directory / FAILURES).unlink(missing_ok=True)
