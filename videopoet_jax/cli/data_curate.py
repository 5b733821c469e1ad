"""`videopoet data curate`: which stretches of which films are worth learning from, as a manifest for `data prepare`."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

FPS = 8  # the rate that the rules hold for
SIDE = 256  # pixels of the shorter side that films are annotated at
REPEATS = 6  # bits of 64 in which the hashes of a clip and its repetition may differ


@click.command("curate")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path),
              help="What is kept; by default curated.jsonl in the folder of SOURCE; in no other one.")  # fmt: skip
@click.option("--out-dir", type=click.Path(path_type=Path), required=True, help="A folder for the report.")
@click.option("--rule", "changes", multiple=True, metavar="FIELD=LOW:HIGH|yes|no|any",
              help="In place of a default rule: motion=0.001:0.1, black=:0.2, caption=yes, sharpness=any.")  # fmt: skip
def command(source, manifest, out_dir, changes) -> None:
    """Cut the films of SOURCE (a folder, a film, a manifest) into shots, and keep those that all rules keep.

    Writes report.json, histograms.png and dropped.png, and a manifest for `videopoet data prepare --input`. A film that
    cannot be read is told and left out.
    """
    from tqdm import tqdm

    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data.curation import duplicates
    from videopoet_jax.data.curation_filter import check_rules, verdict
    from videopoet_jax.data.curation_report import Item, write_report
    from videopoet_jax.data.items import items_of, named
    from videopoet_jax.pretrained.files import write_atomically

    if named(source):
        raise ValueError(
            f"{source}: its clips have no shots to cut; give it to `videopoet data prepare --input` as it is."
        )
    rules = rules_of(changes)
    check_rules(rules)
    folder = source if source.is_dir() else source.parent
    manifest = manifest or folder / "curated.jsonl"
    check_targets(manifest, out_dir / "report.json", inputs=(source,))
    films = [item for item in items_of(source) if not item.image]
    found: dict[str, tuple[dict, Any, Any]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for film in tqdm(pool.map(_shots_or_error, films), total=len(films), unit="film"):
            if isinstance(film, Exception):
                click.echo(f"left out: {film}", err=True)
                continue
            for name, entry, annotations, thumbnail in film:
                found[name] = entry, annotations, thumbnail
    repeated = duplicates({name: annotations.middle_hash for name, (_, annotations, _) in found.items()}, REPEATS)
    items, kept = [], []
    for name, (entry, annotations, thumbnail) in found.items():
        annotations = annotations._replace(duplicate=repeated[name])
        items.append(Item(name, annotations, verdict(annotations, rules), thumbnail))
        if items[-1].verdict.kept:
            kept.append({**entry, "path": os.path.relpath(entry["path"], manifest.resolve().parent)})
    write_report(out_dir, items, rules)
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
    write_atomically(manifest, lambda path: path.write_text(text, encoding="utf-8"))
    click.echo(f"wrote {manifest}: {len(kept)} of {len(items)} shots of {len(films)} films; why not: {out_dir}")


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


def _shots_or_error(item: Any) -> list[tuple[str, dict, Any, Any]] | Exception:
    try:
        return list(shots_of(item))
    except (ValueError, OSError) as error:  # whatever is wrong with one film, the others are not lost
        return error


def shots_of(item: Any) -> Iterator[tuple[str, dict, Any, Any]]:
    """(id, line of the manifest, annotations, thumbnail) of each shot of a film, or of the stretch that an item is."""
    from videopoet_jax.data.curation import annotate, shots
    from videopoet_jax.data.item_windows import stretch
    from videopoet_jax.data.media import iterate_audio, iterate_frames, probe

    info = probe(item.path)
    shorter = min(info.height, info.width)
    height, width = (max(16, round(side * min(1, SIDE / shorter))) for side in (info.height, info.width))
    sizes = {"height": height, "width": width}
    stored = iterate_frames(item.path, fps=info.fps, start=item.start, end=item.end, **sizes)
    for shot in shots(stored):
        start, end = (round(item.start + frame / float(info.fps), 3) for frame in shot)
        if end - start < 1 / FPS:
            continue
        times = {"start": start, "end": end}
        seen = Middle(iterate_frames(item.path, fps=FPS, **times, **sizes), count=max(1, int((end - start) * FPS)))
        audio = iterate_audio(item.path, sample_rate=16_000, **times) if info.has_audio else None
        annotations = annotate(seen, fps=FPS, audio=audio, caption=item.caption)
        entry = {"path": item.path, "caption": item.caption, **times}
        yield item.id + stretch(start, end), entry, annotations, seen.frame


class Middle:
    """Frames on their way, of which about `count` are expected; the one in the middle stays as `frame`."""

    def __init__(self, frames: Iterator[np.ndarray], count: int) -> None:
        self._frames, self._place, self.frame = frames, count // 2, np.zeros((1, 1, 3), np.uint8)

    def __iter__(self) -> Iterator[np.ndarray]:
        for place, frame in enumerate(self._frames):
            if place <= self._place:
                self.frame = frame
            yield frame
