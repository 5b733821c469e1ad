"""What `python -m t5x.infer` wrote → codes, as our layouts read them.

    for line in read("written/videopoet_text_to_video-predict.jsonl-00000-of-00001"):
        line.codes["video"]            # [t h w], for a video tokenizer's decode
        line.layout.grid               # of which clip

A line is JSON: `inputs`, all features of a task's example, and `prediction`, the ids that the model wrote.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data.features import PLACES, SIDES
from videopoet_jax.data.mixtures import PREFIX
from videopoet_jax.data.task_batches import kinds_of
from videopoet_jax.interop.t5x import sources
from videopoet_jax.sequence import Layout, Layouts, disassemble


class Prediction(NamedTuple):
    """One line.

    Attributes:
        layout: how the example was laid out.
        ids: the whole sequence [n], prefix as given, output as drawn.
        codes: the whole clip's, as `sequence.disassemble` gives them.
        score: log p of the output; None of a file of mode `predict`.
    """

    layout: Layout
    ids: np.ndarray
    codes: dict[str, np.ndarray]
    score: float | None


def read(path: str | os.PathLike) -> Iterator[Prediction]:
    """The predictions of a file, in its order; the layouts are those of the records in $VIDEOPOET_RECORDS.

    Raises:
        ValueError: a file of no task of ours, or lines that these records have no layout for.
    """
    layouts = _layouts(os.path.basename(path).partition("-")[0].removeprefix(PREFIX))
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            yield _prediction(json.loads(line), layouts, f"{path}:{number}")


def _layouts(task: str) -> dict[bytes, Layout]:
    """Every layout that the records give to a task, by its positions."""
    found = {}
    for source in sources():
        layouts = Layouts.from_dict(source.meta["layouts"])
        for kind in kinds_of(source.index, source.meta["keys"], {task: 1.0}, layouts):
            found[kind.layout.positions.tobytes()] = kind.layout
    return found


def _prediction(line: dict[str, Any], layouts: dict[bytes, Layout], where: str) -> Prediction:
    example = line["inputs"]
    if not {"inputs", "targets"} <= example.keys():
        raise ValueError(f"{where}: no inputs beside the prediction; write with include_all_inputs = True.")
    lengths = {side: np.count_nonzero(example[side]) for side in SIDES}  # they were padded for one another's sake
    sides = [np.stack([example[f"{side}_{place}"][: lengths[side]] for place in PLACES], axis=-1) for side in SIDES]
    positions = np.concatenate(sides).astype(np.int32)
    layout = layouts.get(positions.tobytes()) or _longer(positions, layouts)
    if layout is None:
        raise ValueError(f"{where}: no layout of these records; set VIDEOPOET_RECORDS to those that it was written of.")
    ids = np.zeros(layout.length, np.int32)
    written = np.asarray(line["prediction"][: lengths["targets"]], np.int32)
    ids[: len(positions)] = np.concatenate([np.asarray(example["inputs"][: lengths["inputs"]], np.int32), written])
    return Prediction(layout, ids, disassemble(layout, ids), line.get("aux", {}).get("scores"))


def _longer(positions: np.ndarray, layouts: dict[bytes, Layout]) -> Layout | None:
    """Of a text that is written a feature holds what it has of pieces: the layout whose end is missing."""
    starts = positions.tobytes()
    return next((layout for key, layout in layouts.items() if key.startswith(starts)), None)
