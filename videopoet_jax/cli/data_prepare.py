"""`videopoet data prepare`: clips → token records, a shard at a time, here or on a cluster."""

import json
import math
import os
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.data_worker import make_worker, own_clips, view_keys
from videopoet_jax.cli.listing import Listing
from videopoet_jax.cli.shards import beam_settings, do_shards, located, refuse_addresses, runner_options

EMBEDDINGS = ("", "float16", "float32")  # kept in records; float16 has more digits than bfloat16
FORMS = ("array_record", "tfrecord")
DECIDE = {"--input": "source", "--split": "split", "--clips": "count", "--batch-size": "batch_size",
          "--shard-size": "shard_size", "--format": "form"}  # fmt: skip


@click.command("prepare", context_settings={"ignore_unknown_options": True})
@click.option("--config", "spec", required=True, help="The language model's config, such as lm:nano.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--models", required=True, type=click.Path(path_type=Path),
              help="Directory with video_tokenizer, audio_tokenizer and text_encoder, or nano.")  # fmt: skip
@click.option("--input", "source",
              help="A folder, a film, a manifest (jsonl, csv, parquet), a data set of TFDS (tfds:NAME[:SPLIT]) or "
              "play in ViZDoom (vizdoom:SCENARIO[?clips=N]); else the config's data.")  # fmt: skip
@click.option("--out", "--output", "out", required=True, type=click.Path(path_type=Path),
              help="The directory of records to write; it goes on where it was stopped.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "held_out"]), help="Of the config's data; by default train.")
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
def command(spec, overrides, models, source, out, most, retry, runner, dry_run, beam_options, **options) -> None:
    """Tokenize clips: pictures, sound and captions.

    Pictures in all the ways that the tasks of `data.tasks` show them: with holes, as flow and depth (by RAFT and DPT
    where data.flow and data.depth name directories of their weights). What cannot be read is noted in failures.jsonl,
    the others go on. What is behind the options is Beam's: --project …
    """
    refuse_addresses(out, models, source)
    check_source(source, options)  # before JAX is imported, which takes longer
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_of, rates_of
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data import token_shards
    from videopoet_jax.data.structure import check_opencv
    from videopoet_jax.data.tfrecords import check_tensorflow
    from videopoet_jax.data.views import check as check_views
    from videopoet_jax.generate.pipeline import PARTS
    from videopoet_jax.pretrained import digest
    from videopoet_jax.structure import ESTIMATORS

    options["split"] = options["split"] or "train"
    if options["form"] == "tfrecord":
        check_tensorflow()
    settings = beam_settings(runner, beam_options, dry_run)
    needs = ("audio_levels", "text_length", "embeddings", "views", "tasks", *ESTIMATORS)
    config = load_config(spec, overrides, needs=tuple(f"data.{name}" for name in needs))
    if source is not None:
        config.data.source = "folder"  # these are films, whatever the config's own data are
    if config.data.embeddings not in EMBEDDINGS:
        raise ValueError(
            f"data.embeddings {config.data.embeddings!r}: unknown; use one of {', '.join(EMBEDDINGS[1:])}."
        )
    keys = view_keys(rates_of(config))
    check_views(keys)
    networks = networks_of(config, keys)
    if networks and not networks["flow"] and config.data.source != "moving_digits":
        check_opencv()
    own = None if source is not None else len(own_clips(options, config))
    models = models_of(models, config)
    for name in filter(networks.get, networks):
        ESTIMATORS[name].read(networks[name])  # a wrong one is told of before any work
    job = {"config": spec, "overrides": list(overrides), "models": str(models.resolve()), "out": str(out.resolve()),
           "source": None if source is None else located(source), "structure": networks, **options}  # fmt: skip
    listing = listed(job["source"], config)
    made = {
        "digests": {part: digest(models / part) for part in PARTS},
        "structure": {name: path and digest(path) for name, path in networks.items()},
    }
    plan = {option: job[name] for option, name in DECIDE.items()} | {"config": config.to_dict()} | made
    if own is not None and listing is not None:
        plan["films"] = listing.digest
    # Relative, so that the records and the models can be moved together.
    meta = made | {
        "models": os.path.relpath(models.resolve(), out.resolve()),
        "embeddings": config.data.embeddings,
        "keys": keys,
        "layouts": layouts_of(config).to_dict(),
        "made_of": token_shards.digest_of(plan | {"items": listing and listing.digest}),
    }
    if token_shards.check(out, plan, meta["made_of"], retry):
        say(out, "already whole")
        return
    count, skipped = (own, []) if own is not None else (listing.count, listing.failures)
    shards = -(-count // options["shard_size"])
    if dry_run:
        check_targets(out / token_shards.PROGRESS / token_shards.PLAN)
        what = "clips of the config's data" if own is not None else f"{kind_of(source)} of {source}"
        click.echo(f"{shards} shards of {count} {what} into {out}; views {', '.join(keys)}")
        left = range(shards)
    else:
        token_shards.begin(out, plan, retry)
        known = token_shards.failures_of, token_shards.forget
        if own is None:
            left = listing.place(out, options["shard_size"], *known, retry)
        else:
            left = [number for number in range(shards) if token_shards.failures_of(out, number) is None]
    do_shards(left, shards, make_worker, job, settings, dry_run)
    if not dry_run:
        token_shards.finish(out, shards, meta, items=count, skipped=skipped, most=most)
        say(out, "wrote")


def say(out: Path, what: str) -> None:
    """What a finished directory holds, and what it lacks."""
    from videopoet_jax.data.token_records import read_meta
    from videopoet_jax.data.token_shards import FAILURES, remove_progress

    path, words = out / FAILURES, f"{read_meta(out)['records']:,} records"
    if path.is_file():
        count = len(path.read_bytes().splitlines())
        words += f", {count:,} items could not be read (failures.jsonl); --retry-failures reads them again"
    else:
        remove_progress(out)
    click.echo(f"{what} {out}: {words}" if what == "wrote" else f"{out}: {what}: {words}")


def check_source(source: str | None, options: dict[str, Any]) -> None:
    """Raises where --input is no source, or is given with what only the config's own data know."""
    from videopoet_jax.data.items import items_of

    if source is None:
        return
    if not source.strip():
        raise ValueError("--input: empty; name a folder, a film or a manifest, or leave it for the config's own data.")
    for option in ("--clips", "--split"):
        if (value := options[DECIDE[option]]) is not None:
            raise ValueError(f"{option} {value}: of the config's own data alone; leave it, or --input.")
    items_of(source)


def kind_of(source: str) -> str:
    from videopoet_jax.data.items import named

    return "clips" if named(source) else "films and pictures"


def listed(source: str | None, config: Any) -> Any:
    """What is in a source, or in the folder that is the config's own data; None where that draws its clips."""
    if source is not None:
        return Listing(source)
    if config.data.source == "folder":
        return Listing(config.data.root, wanted=lambda item: not item.image)
    return None


def models_of(models: Path, config: Any) -> Path:
    """The directory of the models, a shipped one's by its name; they make what the config says.

    Raises:
        FileNotFoundError: a model is missing.
        ValueError: a model makes something else.
    """
    from videopoet_jax.cli.recipes_of_language import check_text, rates_of
    from videopoet_jax.generate.pipeline import PARTS
    from videopoet_jax.pretrained import resolve, shipped

    if str(models) in shipped() and not models.is_dir():
        models = resolve(str(models))
    for part in PARTS:
        if not (models / part).is_dir():
            raise FileNotFoundError(
                f"--models {models}: no {part} in it; name a directory that has {', '.join(PARTS)}, such as --export "
                f"writes, or a model that ships ({', '.join(shipped())})."
            )
    video, audio, text = (_config(models / part) for part in PARTS)
    data, levels = config.data, audio.get("levels", math.inf)
    if data.audio_levels > levels:
        raise ValueError(
            f"data.audio_levels {data.audio_levels}: {models}/audio_tokenizer has {levels}; name other --models, or "
            f"another --config: lm:nano is that of the models that ship."
        )
    if "strides" in video:
        stride = math.prod(sizes[1] for sizes in (video["patch"], *video["strides"]))
        if stride != data.spatial_stride:
            raise ValueError(
                f"data.spatial_stride {data.spatial_stride}: that of {models}/video_tokenizer is {stride}; name other "
                f"--models, or another --config: lm:nano is that of the models that ship."
            )
    check_text(rates_of(config), config.model.text_pieces, text.get("vocabulary") or text.get("vocab_size") or 0)
    return models


def _config(directory: Path) -> dict[str, Any]:
    """What a model says of itself; published weights may have no such file."""
    path = directory / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def networks_of(config: Any, keys: list[str]) -> dict[str, str]:
    """The directories of the networks that see flow and depth, "" for none."""
    from videopoet_jax.structure import ESTIMATORS

    paths = {name: config.data[name] for name in ESTIMATORS if "structure" in keys}
    return {name: path and os.path.abspath(path) for name, path in paths.items()}
