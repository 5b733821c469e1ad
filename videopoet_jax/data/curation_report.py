"""What a filter has done to a collection of clips, in a folder that a person opens and a program reads.

report.json       every figure of every clip, its verdict, and sums
histograms.png    each annotation: what is kept, what this rule drops, what others drop, the bounds drawn
dropped.png       thumbnails of what was dropped, a row for each reason, beside some of what was kept
"""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from videopoet_jax.data.curation import Annotations, Figure, figures
from videopoet_jax.data.curation_figures import UNITS, Panel, Strip, Tile, save_histograms, save_strips, short
from videopoet_jax.data.curation_filter import Reason, Rule, Verdict, check_rules
from videopoet_jax.pretrained.files import write_atomically

TILES = 8  # thumbnails in a row
REPORT, HISTOGRAMS, DROPPED = "report.json", "histograms.png", "dropped.png"


class Item(NamedTuple):
    """One clip; its thumbnail is made when it is shown, at about 130 pixels, and may have any size."""

    id: str
    annotations: Annotations
    verdict: Verdict
    thumbnail: Callable[[], UInt8[np.ndarray, "h w 3"]]


def write_report(folder: str | os.PathLike, items: Sequence[Item], rules: Mapping[str, Rule]) -> None:
    """Writes the three files; the same items give the same bytes.

    Raises:
        ValueError: no items, or see `check_rules`.
    """
    check_rules(rules)
    if not items:
        raise ValueError("0 clips: a report is about at least one; check what was annotated.")
    folder = Path(folder)
    text = json.dumps(summary(items, rules), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / REPORT, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    kept = sum(item.verdict.kept for item in items)
    title = f"{len(items):,} clips, {kept:,} kept ({kept / len(items):.0%})"
    save_histograms(folder / HISTOGRAMS, _panels(items, rules), title=title)
    title += "; a clip that is dropped for several reasons is in each of their rows"
    save_strips(folder / DROPPED, _strips(items, rules), title=title)


def summary(items: Sequence[Item], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """What `report.json` holds. Numbers that JSON has not (NaN, infinity) become null.

    `dropped` counts for each field the clips that its rule drops, and those that it alone drops.
    """
    fields = [{reason.field for reason in item.verdict.reasons} for item in items]
    by_field = Counter(field for names in fields for field in names)
    alone = Counter(field for names in fields if len(names) == 1 for field in names)
    values = _values(items)
    return {
        "clips": len(items),
        "kept": sum(item.verdict.kept for item in items),
        "seconds": sum(item.annotations.duration for item in items),
        "seconds_kept": sum(item.annotations.duration for item in items if item.verdict.kept),
        "rules": {field: rule if isinstance(rule, bool) else list(rule) for field, rule in rules.items()},
        "dropped": {field: {"clips": by_field[field], "alone": alone[field]} for field in rules},
        "quantiles": {field: _quantiles(column) for field, column in values.items()},
        "items": [_record(item) for item in items],
    }


def _record(item: Item) -> dict[str, Any]:
    annotations = item.annotations._asdict()
    annotations["letterbox"] = item.annotations.letterbox._asdict()
    annotations["scores"] = {name: _finite(value) for name, value in item.annotations.scores.items()}
    for name in ("first_hash", "middle_hash"):
        annotations[name] = f"{annotations[name]:016x}"
    reasons = [reason._replace(value=_finite(reason.value))._asdict() for reason in item.verdict.reasons]
    return {"id": item.id, "kept": item.verdict.kept, "reasons": reasons, "annotations": annotations}


def _finite(value: Figure) -> Figure | None:
    return value if math.isfinite(value) else None


def _values(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Each figure of all items, those that some lack left out: bool [n] or float [n]."""
    rows = [figures(item.annotations) for item in items]
    shared = [field for field in rows[0] if all(field in row for row in rows)]
    return {field: np.asarray([row[field] for row in rows]) for field in shared}


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    """Least, median and largest of the finite ones, and their mean."""
    finite = values[np.isfinite(values)].astype(float)
    if not finite.size:
        return dict.fromkeys(("least", "median", "largest", "mean"))
    least, median, largest = np.quantile(finite, [0, 0.5, 1]).tolist()
    return {"least": least, "median": median, "largest": largest, "mean": float(finite.mean())}


def _panels(items: Sequence[Item], rules: Mapping[str, Rule]) -> list[Panel]:
    """A histogram for each figure, those with a rule first, in the rules' order."""
    values = _values(items)
    kept = np.asarray([item.verdict.kept for item in items])
    ordered = [*(field for field in rules if field in values), *(field for field in values if field not in rules)]
    panels = []
    for field in ordered:
        here = np.asarray([any(reason.field == field for reason in item.verdict.reasons) for item in items])
        panels.append(Panel(field, values[field], kept, here, rules.get(field)))
    return panels


def _strips(items: Sequence[Item], rules: Mapping[str, Rule]) -> list[Strip]:
    """A row for what is kept, then one for each bound that drops something."""
    kept = [item for item in items if item.verdict.kept]
    strips = [_strip("kept", [(item, "") for item in kept], kept=True)]
    broken: dict[tuple[str, Figure], list[tuple[Item, Reason]]] = {}
    for item in items:
        for reason in item.verdict.reasons:
            broken.setdefault((reason.field, reason.bound), []).append((item, reason))
    places = list(rules)
    for (field, _), found in sorted(broken.items(), key=lambda pair: (places.index(pair[0][0]), pair[0][1])):
        notes = [(item, _shown(field, item, reason)) for item, reason in found]
        unit = f" ({UNITS[field]})" if field in UNITS else ""
        strips.append(_strip(f"dropped, {found[0][1].rule()}{unit}", notes))
    return [strip for strip in strips if strip.tiles]


def _shown(field: str, item: Item, reason: Reason) -> str:
    if field == "duplicate" and item.annotations.duplicate is not None:
        return f"of {short(item.annotations.duplicate)}"
    return "" if isinstance(reason.value, bool) else f"{reason.value:.3g}"


def _strip(heading: str, found: Sequence[tuple[Item, str]], kept: bool = False) -> Strip:
    """Some of the clips, evenly spread over them."""
    places = np.unique(np.linspace(0, len(found) - 1, min(TILES, len(found))).round().astype(int)) if found else []
    tiles = [Tile(found[place][0].id, found[place][1], found[place][0].thumbnail()) for place in places]
    return Strip(heading, len(found), kept, tiles)
