"""`videopoet data prepare`: clips → token records, a shard at a time, here or on a cluster."""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.data_worker import ITEMS, make_worker, own_clips, view_keys

EMBEDDINGS = ("", "float16", "float32")  # kept in records; float16 has more digits than bfloat16
RUNNERS = ("DirectRunner", "DaskRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
FORMS = ("array_record", "tfrecord")
ADDRESS = re.compile(r"^([A-Za-z][\w+.-]+:)//?")  # gs://… as it is, and as a path, which has one slash


@click.command("prepare", context_settings={"ignore_unknown_options": True})
@click.option("--config", "spec", required=True, help="The language model's config, such as lm:nano.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--models", required=True, type=click.Path(path_type=Path),
              help="Directory with video_tokenizer, audio_tokenizer and text_encoder.")  # fmt: skip
@click.option("--input", "source",
              help="A folder, a film, a manifest (jsonl, csv, parquet), a data set of TFDS (tfds:NAME[:SPLIT]) or "
              "play in ViZDoom (vizdoom:SCENARIO[?clips=N]); else the config's data.")  # fmt: skip
@click.option("--out", "--output", "out", required=True, type=click.Path(path_type=Path),
              help="The directory of records to write; it goes on where it was stopped.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "held_out"]), default="train", show_default=True,
              help="Of the config's data.")  # fmt: skip
@click.option(
    "--clips", "count", type=click.IntRange(1),
    help="At most so many records of the config's data; by default one of every window and view.",
)  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--shard-size", type=click.IntRange(1), default=256, show_default=True,
              help="Films or clips of --input, or clips of the config's data, that one shard is made of.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(FORMS), default=FORMS[0], show_default=True,
              help="array_record is what training reads; tfrecord (tf.train.Example) is for others' code.")  # fmt: skip
@click.option("--runner", type=click.Choice(RUNNERS), help="Apache Beam's; without it, this process does the work.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and make what the runner would be sent.")
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED)
def command(spec, overrides, models, source, out, runner, dry_run, beam_options, **options) -> None:
    """Tokenize clips: pictures, sound and captions.

    Pictures in all the ways that the tasks of `data.tasks` show them: with holes, as flow and depth (by RAFT and DPT
    where data.flow and data.depth name directories of their weights). What cannot be read is noted in failures.jsonl,
    the others go on. What is behind the options is Beam's: --project …
    """
    from tqdm import tqdm

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_of, rates_of
    from videopoet_jax.data import token_shards
    from videopoet_jax.data.tfrecords import check_tensorflow
    from videopoet_jax.generate.pipeline import PARTS
    from videopoet_jax.pretrained import digest
    from videopoet_jax.structure import ESTIMATORS

    refuse_addresses(out, models, source)
    if options["form"] == "tfrecord":
        check_tensorflow()
    settings = beam_settings(runner, beam_options, dry_run)
    needs = ("audio_levels", "text_length", "embeddings", "views", "tasks", *ESTIMATORS)
    config = load_config(spec, overrides, needs=tuple(f"data.{name}" for name in needs))
    if config.data.embeddings not in EMBEDDINGS:
        raise ValueError(
            f"data.embeddings {config.data.embeddings!r}: unknown; use one of {', '.join(EMBEDDINGS[1:])}."
        )
    keys = view_keys(rates_of(config))
    networks = networks_of(config, keys)
    job = {"config": spec, "overrides": list(overrides), "models": str(models.resolve()), "out": str(out.resolve()),
           "source": source and located(source), "structure": networks, **options}  # fmt: skip
    plan = planned(job, config)
    for name in filter(networks.get, networks):
        ESTIMATORS[name].read(networks[name])  # a wrong one is told of before any work
    # Relative, so that the records and the models can be moved together.
    meta = {
        "models": os.path.relpath(models.resolve(), out.resolve()),
        "digests": {part: digest(models / part) for part in PARTS},
        "structure": {name: path and digest(path) for name, path in networks.items()},
        "embeddings": config.data.embeddings,
        "keys": keys,
        "layouts": layouts_of(config).to_dict(),
    }
    plan |= meta
    if dry_run:
        click.echo(f"{plan['shards']} shards of {plan['what']} into {out}; views {', '.join(keys)}")
    else:
        token_shards.begin(out, plan)
        place_items(job)
    left = [n for n in range(plan["shards"]) if dry_run or token_shards.report_of(out, n) is None]
    if runner:
        from videopoet_jax.data.tokenize_beam import tokenize

        sent = tokenize(left, make_worker, job, settings)
        if dry_run:
            click.echo(sent)
    elif not dry_run:
        work = make_worker(job) if left else None
        for number in tqdm(left, unit="shard", initial=plan["shards"] - len(left), total=plan["shards"]):
            work(number)
    if not dry_run:
        made = token_shards.finish(out, plan["shards"], meta)
        failed = f", {made['failures']} items could not be read (failures.jsonl)" if made["failures"] else ""
        click.echo(f"wrote {out}: {made['records']} records{failed}")


def refuse_addresses(*places: Any) -> None:
    """Raises for gs://… and its like."""
    for place in filter(ADDRESS.match, map(str, places)):
        place = ADDRESS.sub(r"\1//", place)
        raise ValueError(f"{place}: an address; directories are read and written that all workers see: mount a share.")


def networks_of(config: Any, keys: list[str]) -> dict[str, str]:
    """The directories of the networks that see flow and depth, "" for none."""
    from videopoet_jax.structure import ESTIMATORS

    paths = {name: config.data[name] for name in ESTIMATORS if "structure" in keys}
    return {name: path and os.path.abspath(path) for name, path in paths.items()}


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


def planned(job: dict, config: Any) -> dict[str, Any]:
    """How many shards there are, of what, and all that the records depend on but the models."""
    from videopoet_jax.data.items import named

    settings = json.dumps(config.to_dict(), sort_keys=True, default=str)
    depends = {"settings": hashlib.sha256(settings.encode()).hexdigest()}
    depends |= {name: job[name] for name in ("source", "split", "count", "batch_size", "shard_size", "form")}
    if job["source"] is None:
        total = len(own_clips(job, config))
        return depends | {"shards": -(-total // job["shard_size"]), "what": f"{total} clips of the config's data"}
    count, digest = 0, hashlib.sha256()
    for line in item_lines(job["source"]):
        count += 1
        digest.update(line.encode())
    what = f"{count} {'clips' if named(job['source']) else 'films and pictures'} of {job['source']}"
    return depends | {"shards": -(-count // job["shard_size"]), "what": what, "items": digest.hexdigest()}


def located(source: str) -> str:
    """A source as it is named wherever one stands."""
    from videopoet_jax.data.items import named

    return source if named(source) else os.path.abspath(source)


def item_lines(source: str) -> Iterator[str]:
    """The items of --input as lines of JSON."""
    from videopoet_jax.data.items import items_of

    for item in items_of(source):
        yield json.dumps(item._asdict(), ensure_ascii=False) + "\n"


def place_items(job: dict) -> None:
    """Lays the items of every shard where its worker finds them."""
    from videopoet_jax.data.token_shards import PROGRESS
    from videopoet_jax.pretrained.files import write_atomically

    def write(number: int, lines: list[str]) -> None:
        path = Path(job["out"]) / PROGRESS / f"{number:05d}.{ITEMS}"
        if not path.is_file():
            write_atomically(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))

    if job["source"] is None:
        return
    held: list[str] = []
    number = 0
    for line in item_lines(job["source"]):
        held.append(line)
        if len(held) == job["shard_size"]:
            write(number, held)
            held, number = [], number + 1
    if held:
        write(number, held)
