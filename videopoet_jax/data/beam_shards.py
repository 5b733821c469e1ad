"""Work that is cut into shards on a cluster: one step of Apache Beam, for any of its runners.

    shard numbers  ─ Reshuffle ─►  workers, each with its own models  ─►  files

A shard is the unit of work: what a worker that dies had not finished is given to another, and made from its start. Only
numbers and a job of plain JSON travel; files are written where all workers and the caller see one directory. Importing
this needs the extra `beam`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, TestOptions

from videopoet_jax.data.beam_runners import told

Make = Callable[[dict], Callable[[int], Any]]


class DoShard(beam.DoFn):
    """Shard number → the same; its files are written. The worker is made once in a process."""

    def __init__(self, make: Make, job: dict) -> None:
        self._make, self._job, self._work = make, job, None

    def setup(self) -> None:
        self._work = self._make(self._job)

    def process(self, number: int) -> list[int]:
        self._work(number)
        return [number]


def spread(shards: Sequence[int], make: Make, job: dict, settings: PipelineOptions) -> str | None:
    """Does the shards, and returns when all of them are done; in a dry run says what would be sent.

    Args:
        make: a function of a module, called with `job` on every worker; what it returns is called with shard numbers.
        settings: of `beam_runners.settings_of`.
    """
    pipeline = beam.Pipeline(options=settings)
    numbers = pipeline | "Shards" >> beam.Create(list(shards)) | "Spread" >> beam.Reshuffle()
    numbers | "Work" >> beam.ParDo(DoShard(make, job))
    if settings.view_as(TestOptions).dry_run:
        return told(pipeline)
    pipeline.run().wait_until_finish()
    return None
