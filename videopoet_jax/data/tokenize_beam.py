"""Shards of token records on a cluster: one step of Apache Beam, for any of its runners.

    shard numbers  ─ Reshuffle ─►  workers, each with its own models  ─►  files (token_shards)

A shard is the unit of work: what a worker that dies had not finished is given to another, and made from its start. Only
numbers and a job of plain JSON travel; files are written where all workers and the caller see one directory. Importing
this needs the extra `beam`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

Make = Callable[[dict], Callable[[int], dict]]
WHOLE_NAMES = {"DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}  # Beam has no short one for it


class WriteShard(beam.DoFn):
    """Shard number → nothing; the shard is written. The worker is made once in a process."""

    def __init__(self, make: Make, job: dict) -> None:
        self._make, self._job, self._work = make, job, None

    def setup(self) -> None:
        self._work = self._make(self._job)

    def process(self, number: int) -> list[tuple[int, int]]:
        """(shard, records)"""
        file = self._work(number)["file"]
        return [(number, file["records"] if file else 0)]


def build(pipeline: beam.Pipeline, shards: Sequence[int], make: Make, job: dict) -> Any:
    """The steps of the pipeline."""
    return (
        pipeline
        | "Shards" >> beam.Create(list(shards))
        | "Spread" >> beam.Reshuffle()
        | "Tokenize" >> beam.ParDo(WriteShard(make, job))
    )


def tokenize(
    shards: Sequence[int], make: Make, job: dict, *, runner: str, options: Sequence[str], dry_run: bool = False
) -> None:
    """Writes the shards, and returns when all of them are there.

    Args:
        make: a function of a module, called with `job` on every worker; what it returns is called with shard numbers.
        runner: a name that Beam knows.
        options: of Beam's and of the runner's, as on a command line.
        dry_run: build the pipeline and turn it into what a runner is sent, but run nothing.
    """
    settings = PipelineOptions([f"--runner={WHOLE_NAMES.get(runner, runner)}", *options])
    settings.view_as(SetupOptions).save_main_session = False
    pipeline = beam.Pipeline(options=PipelineOptions(list(options)) if dry_run else settings)
    build(pipeline, shards, make, job)
    if dry_run:
        pipeline.to_runner_api()
        return
    pipeline.run().wait_until_finish()
