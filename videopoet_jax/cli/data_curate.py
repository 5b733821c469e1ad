"""`videopoet data curate`: which stretches of which films are worth learning from, as a manifest for `data prepare`."""

import json
import os
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.curation_worker import FPS, SIDE, Annotator, path_of, read
from videopoet_jax.cli.shards import (
    beam_settings,
    counted,
    do_shards,
    line_of,
    place_items,
    refuse_addresses,
    runner_options,
)

REPEATS = 6  # bits of 64 in which the hashes of a clip and its repetition may differ


@click.command("curate", context_settings={"ignore_unknown_options": True})
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path),
              help="What is kept; by default curated.jsonl in the folder of SOURCE; in no other one.")  # fmt: skip
@click.option("--out-dir", type=click.Path(path_type=Path), required=True,
              help="A folder for the report, and what is known of films; it goes on where it was stopped.")  # fmt: skip
@click.option("--rule", "changes", multiple=True, metavar="FIELD=LOW:HIGH|yes|no|any",
              help="In place of a default rule: motion=0.001:0.1, black=:0.2, caption=yes, sharpness=any.")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), default=16, show_default=True,
              help="Films that a worker annotates before they are written down.")  # fmt: skip
@runner_options
def command(source, manifest, out_dir, changes, shard_size, runner, dry_run, beam_options) -> None:
    """Cut the films of SOURCE (a folder, a film, a manifest) into shots, and keep those that all rules keep.

    Writes report.json, histograms.png and dropped.png, and a manifest for `videopoet data prepare --input`. A film that
    cannot be read is left out, and noted in failures.jsonl. With other rules the same command reads no film again. What
    is behind the options is Beam's: --project …
    """
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data import token_shards
    from videopoet_jax.data.curation import ANNOTATORS, duplicates, load_plugins
    from videopoet_jax.data.curation_filter import check_rules, verdict
    from videopoet_jax.data.curation_report import Item, write_report
    from videopoet_jax.data.items import items_of, named
    from videopoet_jax.pretrained.files import write_atomically

    if str(source).startswith("-"):
        raise ValueError(f"{source}: stands where SOURCE should; name SOURCE first, and options of Beam's behind it.")
    if named(source):
        raise ValueError(
            f"{source}: its clips have no shots to cut; give it to `videopoet data prepare --input` as it is."
        )
    refuse_addresses(source, out_dir)
    rules = rules_of(changes)
    check_rules(rules)
    settings = beam_settings(runner, beam_options, dry_run)
    folder = source if source.is_dir() else source.parent
    manifest = manifest or folder / "curated.jsonl"
    check_targets(manifest, out_dir / "report.json", inputs=(source,))
    load_plugins()
    films, digest = counted(source, as_it_is)
    plan = {"films": films, "items": digest, "shard_size": shard_size, "fps": FPS, "side": SIDE,
            "annotators": sorted(ANNOTATORS)}  # fmt: skip
    job = {"out": str(out_dir.resolve()), "threads": 1 if runner else os.cpu_count()}
    numbers = range(-(-films // shard_size))
    if dry_run:
        click.echo(f"{len(numbers)} shards of {films} films of {source} into {out_dir}")
    else:
        token_shards.begin(out_dir, plan)
        place_items(out_dir, (item for item in items_of(source) if not item.image), shard_size)
    left = [number for number in numbers if dry_run or not path_of(out_dir, number).is_file()]
    do_shards(left, len(numbers), Annotator, job, settings, dry_run)
    if dry_run:
        return
    token_shards.remove_strays(out_dir / token_shards.PROGRESS)
    found, failures = {}, []
    for number in numbers:
        shots, failed = read(out_dir, number)
        found |= {shot.id: shot for shot in shots}
        failures += failed
    for failure in failures:
        click.echo(f"left out: {failure.error}", err=True)
    token_shards.write_failures(out_dir, failures)
    repeated = duplicates({name: shot.annotations.middle_hash for name, shot in found.items()}, REPEATS)
    items, kept = [], []
    for name, shot in found.items():
        annotations = shot.annotations._replace(duplicate=repeated[name])
        items.append(Item(name, annotations, verdict(annotations, rules), shot.thumbnail))
        if items[-1].verdict.kept:
            kept.append({**shot.entry, "path": os.path.relpath(shot.entry["path"], manifest.resolve().parent)})
    write_report(out_dir, items, rules)
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
    write_atomically(manifest, lambda path: path.write_text(text, encoding="utf-8"))
    left_out = f", {len(failures)} of which could not be read (failures.jsonl)" if failures else ""
    click.echo(f"wrote {manifest}: {len(kept)} of {len(items)} shots of {films} films{left_out}; why not: {out_dir}")


def as_it_is(item: Any) -> str:
    """A film as it lies there, in a line; nothing of a picture, and of a file that is changed something else."""
    if item.image:
        return ""
    try:
        found = os.stat(item.path)
    except OSError:
        return line_of(item)
    return f"{found.st_size} {found.st_mtime_ns} {line_of(item)}"


def rules_of(changes: tuple[str, ...]) -> dict[str, Any]:
    """The default rules with changes: `("motion=0.001:", "caption=yes", "black=any") → {"motion": (0.001, None), …}`

    Raises:
        ValueError: not such a change.
    """
    from videopoet_jax.data.curation_filter import DEFAULT_RULES

    rules = dict(DEFAULT_RULES)
    for change in changes:
        field, _, bounds = change.partition("=")
        if bounds == "any":
            rules.pop(field, None)
            continue
        try:
            low, _, high = bounds.partition(":")
            if bounds in ("yes", "no"):
                rules[field] = bounds == "yes"
            elif ":" in bounds:
                rules[field] = tuple(float(bound) if bound else None for bound in (low, high))
            else:
                raise ValueError
        except ValueError:
            raise ValueError(f"--rule {change}: FIELD=LOW:HIGH, FIELD=yes, FIELD=no or FIELD=any is needed.") from None
    return rules
