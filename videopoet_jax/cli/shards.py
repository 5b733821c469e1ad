"""Work that is cut into shards, and who does it: this process, or the workers of one of Apache Beam's runners.

    shard numbers     →  a worker of the job, here or elsewhere, called with each    (do_shards)

A worker reads the items of its shard, which `listing` lays there, and writes what it makes of them into the same
directory, which all see.
"""

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

RUNNERS = ("DirectRunner", "DaskRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
EXTRAS = {"DaskRunner": "dask", "DataflowRunner": "dataflow"}  # of the others: beam
ADDRESS = re.compile(r"^([A-Za-z][\w+.-]+:)//?")  # gs://… as it is, and as a path, which has one slash


def runner_options(command: Callable) -> Callable:
    """What becomes of failures; --runner, --dry-run, and Beam's own options behind them."""
    for option in (
        click.option(
            "--most-failures",
            "most",
            type=click.FloatRange(0, 1),
            default=0.5,
            show_default=True,
            help="Share of the items that may be unreadable; where more are, it is taken for the machine's fault.",
        ),
        click.option(
            "--retry-failures",
            "retry",
            is_flag=True,
            help="Make the shards anew in which something could not be read; of a changed item that is done anyway.",
        ),
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
    extra = EXTRAS.get(runner, "beam")
    packages = {"apache_beam": "Apache Beam"} | ({"distributed": "Dask"} if extra == "dask" else {})
    if missing := [name for package, name in packages.items() if importlib.util.find_spec(package) is None]:
        raise ValueError(f"{runner}: {missing[0]} is not installed; pip install 'videopoet_jax[{extra}]'.")
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
