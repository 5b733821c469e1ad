"""Directories of token records that many processes write, a shard each, and go on writing after a stop.

    begin(out, plan)                   progress/plan.json: whoever goes on has the same plan, or is refused
    write_shard(out, 7, records)       00007.array_record (or .tfrecord), progress/00007.npy, progress/00007.json, so
    finish(out, 8, meta)               index.npy, failures.jsonl, meta.json; progress/ is gone: a TokenSource

A shard that is there is whole, since files appear under their names when they are, and equal records make equal bytes:
so a shard may be written twice, by a worker that was thought dead and by the one in its place.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.tfrecords import FORMATS
from videopoet_jax.data.token_records import FIELDS, write_meta
from videopoet_jax.pretrained.files import write_atomically

PROGRESS, PLAN, FAILURES = "progress", "plan.json", "failures.jsonl"


class Failure(NamedTuple):
    """What could not be made into records, and why."""

    id: str
    error: str


def begin(directory: Path, plan: Mapping[str, Any]) -> None:
    """Makes the directory, or goes on in it.

    Raises:
        FileExistsError: it is finished, or holds something else.
        ValueError: it was begun with another plan.
    """
    path, text = directory / PROGRESS / PLAN, json.dumps(plan, indent=1, sort_keys=True, ensure_ascii=False)
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{directory}: begun with another input, models or settings; go on with those, or choose another name."
            )
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory}: not an empty directory; choose another name or delete it.")
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
    if file and (size_of(directory / file["name"]) != file["bytes"] or not path.with_suffix(".npy").is_file()):
        return None
    return report


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
            temporary.replace(directory / name)
            write_atomically(progress / f"{number:05d}.npy", lambda path: _save(path, rows))
    finally:
        temporary.unlink(missing_ok=True)
    report = {"file": entry, "failures": [list(failure) for failure in failures]}
    text = json.dumps(report, ensure_ascii=False)
    write_atomically(progress / f"{number:05d}.json", lambda path: path.write_text(text, encoding="utf-8"))
    return report


def _save(path: Path, rows: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, rows)


def finish(directory: Path, shards: int, meta: Mapping[str, Any]) -> dict[str, int]:
    """Makes a directory of whole shards one of records; returns how many `records` and `failures` there are.

    Raises:
        ValueError: a shard is missing, or there is no record at all.
    """
    reports = [report_of(directory, number) for number in range(shards)]
    if None in reports:
        missing = reports.index(None)
        raise ValueError(f"{directory}: shard {missing} of {shards} is not there; the same command makes it.")
    failures = [Failure(*failure) for report in reports for failure in report["failures"]]
    whole = [number for number, report in enumerate(reports) if report["file"]]
    if not whole:
        first = f"; the first of {len(failures)} failures: {failures[0].error}" if failures else ""
        raise ValueError(f"{directory}: no records were made{first}; give clips that can be read.")
    rows = [np.load(directory / PROGRESS / f"{number:05d}.npy", allow_pickle=False) for number in whole]
    index = np.concatenate(rows).reshape(-1, len(FIELDS))
    write_failures(directory, failures)
    remove_strays(directory)
    write_meta(directory, [reports[number]["file"] for number in whole], index, meta)
    shutil.rmtree(directory / PROGRESS)
    return {"records": len(index), "failures": len(failures)}


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
