"""Work that is cut into shards, and who does it: this process, or the workers of one of Apache Beam's runners.

    items of --input  →  DIRECTORY/progress/00000.items.jsonl 00001.items.jsonl …   (place_items)
    shard numbers     →  a worker of the job, here or elsewhere, called with each    (do_shards)

A worker reads the items of its shard and writes what it makes of them into the same directory, which all see.
"""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

RUNNERS = ("DirectRunner", "DaskRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
ADDRESS = re.compile(r"^([A-Za-z][\w+.-]+:)//?")  # gs://… as it is, and as a path, which has one slash


def runner_options(command: Callable) -> Callable:
    """--runner, --dry-run, and Beam's own options behind them."""
    for option in (
        click.argument("beam_options", nargs=-1, type=click.UNPROCESSED),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and make what the runner would be sent."),
        click.option(
            "--runner", type=click.Choice(RUNNERS), help="Apache Beam's; without it, this process does the work."
        ),
    ):
        command = option(command)
    return command


def beam_settings(runner: str | None, options: tuple[str, ...], dry_run: bool) -> Any:
    """The options of Apache Beam, checked; None without a runner."""
    if runner is None:
        if options:
            raise ValueError(
                f"{' '.join(options)}: an option of Apache Beam's without --runner; name one, or leave it."
            )
        return None
    if importlib.util.find_spec("apache_beam") is None:
        raise ValueError(f"{runner}: Apache Beam is not installed; pip install 'videopoet_jax[beam]'.")
    from videopoet_jax.data.beam_runners import settings_of

    return settings_of(runner, options, dry_run=dry_run)


def do_shards(
    left: Sequence[int], total: int, make: Callable[[dict], Callable[[int], Any]], job: dict, settings: Any, dry: bool
) -> None:
    """Has the shards that are `left` of `total` done, by Beam's workers where there are `settings`; see `spread`."""
    from tqdm import tqdm

    if settings is not None:
        from videopoet_jax.data.beam_shards import spread

        sent = spread(left, make, job, settings)
        if dry:
            click.echo(sent)
    elif left and not dry:
        work = make(job)
        for number in tqdm(left, unit="shard", initial=total - len(left), total=total):
            work(number)


def refuse_addresses(*places: Any) -> None:
    """Raises for gs://… and its like."""
    for place in filter(ADDRESS.match, map(str, places)):
        place = ADDRESS.sub(r"\1//", place)
        raise ValueError(f"{place}: an address; directories are read and written that all workers see: mount a share.")


def located(source: str | os.PathLike) -> str:
    """A source as it is named wherever one stands."""
    from videopoet_jax.data.items import named

    return os.fspath(source) if named(source) else os.path.abspath(source)


def place_items(directory: Path, items: Iterable[Any], shard_size: int) -> None:
    """Lays the items of every shard where its worker finds them."""
    held: list[str] = []
    number = 0
    for item in items:
        held.append(line_of(item))
        if len(held) == shard_size:
            _write_items(directory, number, held)
            held, number = [], number + 1
    if held:
        _write_items(directory, number, held)


def line_of(item: Any) -> str:
    """An item as a line of JSON."""
    return json.dumps(item._asdict(), ensure_ascii=False) + "\n"


def _write_items(directory: Path, number: int, lines: list[str]) -> None:
    from videopoet_jax.pretrained.files import write_atomically

    path = _items_path(directory, number)
    if not path.is_file():
        write_atomically(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))


def _items_path(directory: Path, number: int) -> Path:
    from videopoet_jax.data.token_shards import PROGRESS

    return directory / PROGRESS / f"{number:05d}.items.jsonl"


def items_of_shard(directory: Path, number: int) -> Iterator[Any]:
    """What `place_items` laid there."""
    from videopoet_jax.data.items import Item

    text = _items_path(directory, number).read_text(encoding="utf-8")
    for line in text.rstrip("\n").split("\n"):  # captions may hold other ends of lines
        yield Item(**json.loads(line))


def counted(source: str | os.PathLike, describe: Callable[[Any], str] = line_of) -> tuple[int, str]:
    """How many items of a source `describe` has a word for, and a digest of its words."""
    from videopoet_jax.data.items import items_of

    count, digest = 0, hashlib.sha256()
    for words in filter(None, map(describe, items_of(source))):
        count += 1
        digest.update(words.encode())
    return count, digest.hexdigest()
