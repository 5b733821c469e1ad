"""`videopoet data prepare`: clips → token records, a shard at a time, here or on a cluster."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.data_worker import make_worker, own_clips, view_keys
from videopoet_jax.cli.shards import (
    beam_settings,
    counted,
    do_shards,
    located,
    place_items,
    refuse_addresses,
    runner_options,
)

EMBEDDINGS = ("", "float16", "float32")  # kept in records; float16 has more digits than bfloat16
FORMS = ("array_record", "tfrecord")


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
@runner_options
def command(spec, overrides, models, source, out, runner, dry_run, beam_options, **options) -> None:
    """Tokenize clips: pictures, sound and captions.

    Pictures in all the ways that the tasks of `data.tasks` show them: with holes, as flow and depth (by RAFT and DPT
    where data.flow and data.depth name directories of their weights). What cannot be read is noted in failures.jsonl,
    the others go on. What is behind the options is Beam's: --project …
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_of, rates_of
    from videopoet_jax.data import token_shards
    from videopoet_jax.data.items import items_of
    from videopoet_jax.data.structure import check_opencv
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
    if networks and not networks["flow"] and (source or config.data.source != "moving_digits"):
        check_opencv()
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
        if source:
            place_items(out, items_of(job["source"]), options["shard_size"])
    left = [n for n in range(plan["shards"]) if dry_run or token_shards.report_of(out, n) is None]
    do_shards(left, plan["shards"], make_worker, job, settings, dry_run)
    if not dry_run:
        made = token_shards.finish(out, plan["shards"], meta)
        failed = f", {made['failures']} items could not be read (failures.jsonl)" if made["failures"] else ""
        click.echo(f"wrote {out}: {made['records']} records{failed}")


def networks_of(config: Any, keys: list[str]) -> dict[str, str]:
    """The directories of the networks that see flow and depth, "" for none."""
    from videopoet_jax.structure import ESTIMATORS

    paths = {name: config.data[name] for name in ESTIMATORS if "structure" in keys}
    return {name: path and os.path.abspath(path) for name, path in paths.items()}


def planned(job: dict, config: Any) -> dict[str, Any]:
    """How many shards there are, of what, and all that the records depend on but the models."""
    from videopoet_jax.data.items import named

    settings = json.dumps(config.to_dict(), sort_keys=True, default=str)
    depends = {"settings": hashlib.sha256(settings.encode()).hexdigest()}
    depends |= {name: job[name] for name in ("source", "split", "count", "batch_size", "shard_size", "form")}
    if job["source"] is None:
        total = len(own_clips(job, config))
        return depends | {"shards": -(-total // job["shard_size"]), "what": f"{total} clips of the config's data"}
    count, digest = counted(job["source"])
    what = f"{count} {'clips' if named(job['source']) else 'films and pictures'} of {job['source']}"
    return depends | {"shards": -(-count // job["shard_size"]), "what": what, "items": digest}
