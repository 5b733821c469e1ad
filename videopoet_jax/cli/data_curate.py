"""`videopoet data curate`: which stretches of which films are worth learning from, as a manifest for `data prepare`."""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.curation_worker import FPS, SIDE, Annotator, failures_of, forget, read
from videopoet_jax.cli.listing import Listing
from videopoet_jax.cli.shards import beam_settings, do_shards, refuse_addresses, runner_options

REPEATS = 6  # bits of 64 in which the hashes of a clip and its repetition may differ


@click.command("curate", context_settings={"ignore_unknown_options": True})
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path),
              help="What is kept; by default curated.jsonl in the folder of SOURCE. It names films below itself, so it "
              "lies in that folder or above it.")  # fmt: skip
@click.option("--out-dir", type=click.Path(path_type=Path), required=True,
              help="A folder for the report, and what is known of films; it goes on where it was stopped.")  # fmt: skip
@click.option("--rule", "changes", multiple=True, metavar="FIELD=LOW:HIGH|yes|no|any",
              help="In place of a default rule: motion=0.001:0.1, black=:0.2, caption=yes, sharpness=any.")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), default=16, show_default=True,
              help="Films that a worker annotates before they are written down.")  # fmt: skip
@runner_options
def command(source, manifest, out_dir, changes, shard_size, most, retry, runner, dry_run, beam_options) -> None:
    """Cut the films of SOURCE (a folder, a film, a manifest) into shots, and keep those that all rules keep.

    Writes report.json, histograms.png and dropped.png, and a manifest for `videopoet data prepare --input`. A film that
    cannot be read is left out, and noted in failures.jsonl. With other rules the same command reads no film again.
    Pictures have no shots: `data prepare` takes them as they are. What is behind the options is Beam's: --project …
    """
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data import token_shards
    from videopoet_jax.data.curation import ANNOTATORS, duplicates, load_plugins
    from videopoet_jax.data.curation_filter import verdict
    from videopoet_jax.data.curation_report import Item, write_report
    from videopoet_jax.data.items import named
    from videopoet_jax.pretrained.files import write_atomically

    if str(source).startswith("-"):
        raise ValueError(f"{source}: stands where SOURCE should; name SOURCE first, and options of Beam's behind it.")
    if named(source):
        raise ValueError(
            f"{source}: its clips have no shots to cut; give it to `videopoet data prepare --input` as it is."
        )
    refuse_addresses(source, out_dir)
    rules = rules_of(changes)
    settings = beam_settings(runner, beam_options, dry_run)
    folder = source if source.is_dir() else source.parent
    manifest = manifest or folder / "curated.jsonl"
    if not folder.resolve().is_relative_to(manifest.resolve().parent):
        raise ValueError(f"{manifest}: a manifest names films below itself; put it into {folder}, or above it.")
    check_targets(manifest, out_dir / "report.json", inputs=(source,))
    load_plugins()
    listing = Listing(source, wanted=lambda item: not item.image)
    if not listing.count:
        raise ValueError(f"{source}: {listing.passed} pictures and no films; `data prepare` takes it as it is.")
    plan = {"SOURCE": os.path.abspath(source), "--shard-size": shard_size, "fps": FPS, "side": SIDE,
            "annotators": sorted(ANNOTATORS)}  # fmt: skip
    job = {"out": str(out_dir.resolve()), "threads": 1 if runner else os.cpu_count()}
    numbers, left = range(-(-listing.count // shard_size)), ()
    if dry_run:
        token_shards.check(out_dir, plan)
        click.echo(f"{len(numbers)} shards of {listing.count} films of {source} into {out_dir}")
        left = numbers
    else:
        token_shards.begin(out_dir, plan)
        left = listing.place(out_dir, shard_size, failures_of, forget, retry)
    do_shards(left, len(numbers), Annotator, job, settings, dry_run)
    if dry_run:
        return
    token_shards.remove_strays(out_dir / token_shards.PROGRESS)
    found, failures = {}, list(listing.failures)
    for number in numbers:
        shots, failed = read(out_dir, number)
        found |= {shot.id: shot for shot in shots}
        failures += failed
    for failure in failures:
        click.echo(f"left out: {failure.error}", err=True)
    token_shards.write_failures(out_dir, failures)
    token_shards.check_failures(failures, listing.count + len(listing.failures), most)
    if not found:
        raise ValueError(f"{source}: no shots in it, and {len(failures)} films that cannot be read; give others.")
    repeated = duplicates({name: shot.annotations.middle_hash for name, shot in found.items()}, REPEATS)
    items, kept, below = [], [], Path(os.path.relpath(folder.resolve(), manifest.resolve().parent))
    for name, shot in found.items():
        annotations = shot.annotations._replace(duplicate=repeated[name])
        items.append(Item(name, annotations, verdict(annotations, rules), shot.thumbnail))
        if items[-1].verdict.kept:
            kept.append({**shot.entry, "path": os.path.normpath(below / os.path.relpath(shot.entry["path"], folder))})
    write_report(out_dir, items, rules)
    if not kept:
        reasons = Counter(reason.rule() for item in items for reason in item.verdict.reasons)
        told = ", ".join(f"{rule} ({count})" for rule, count in reasons.most_common(3))
        raise ValueError(
            f"{source}: none of its {len(items)} shots is kept: {told}; change rules with --rule. {manifest} was not "
            f"written, {out_dir} shows what was dropped."
        )
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
    data = text.encode("utf-8", "backslashreplace")  # of half a character, JSON's own way to write it
    write_atomically(manifest, lambda path: path.write_bytes(data))
    left_out = f", {len(failures)} of which could not be read (failures.jsonl)" if failures else ""
    pictures = f", without {listing.passed} pictures" if listing.passed else ""
    click.echo(
        f"wrote {manifest}: {len(kept)} of {len(items)} shots of {listing.count} films{left_out}{pictures}; why not: "
        f"{out_dir}"
    )


def rules_of(changes: tuple[str, ...]) -> dict[str, Any]:
    """The default rules with changes: `("motion=0.001:", "caption=yes", "black=any") → {"motion": (0.001, None), …}`

    Raises:
        ValueError: not such a change, or no such field.
    """
    from videopoet_jax.data.curation_filter import DEFAULT_RULES, SWITCHES, fields

    rules = dict(DEFAULT_RULES)
    known = fields()
    for change in changes:
        field, equals, bounds = change.partition("=")
        if not equals or field not in known:
            raise ValueError(f"--rule {change}: no such field; use one of {', '.join(known)}, as in motion=0.001:0.1.")
        rules[field] = None if bounds == "any" else _bounds(change, bounds, switch=field in SWITCHES)
    return {field: rule for field, rule in rules.items() if rule is not None}


def _bounds(change: str, text: str, switch: bool) -> bool | tuple[float | None, float | None]:
    """`"yes" → True    "0.001:" → (0.001, None)`"""
    if switch:
        if text not in ("yes", "no"):
            raise ValueError(f"--rule {change}: yes, no or any is needed.")
        return text == "yes"
    low, colon, high = text.partition(":")
    try:
        bounds = tuple(float(bound) if bound else None for bound in (low, high))
    except ValueError:
        bounds = None
    if not colon or bounds is None or any(bound is not None and math.isnan(bound) for bound in bounds):
        raise ValueError(f"--rule {change}: LOW:HIGH, LOW:, :HIGH or any is needed, of numbers.")
    if None not in bounds and bounds[0] > bounds[1]:
        raise ValueError(f"--rule {change}: nothing is from {low} to {high}; give the lower one first.")
    return bounds
