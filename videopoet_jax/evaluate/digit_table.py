"""The table of text-to-video scores: a system beside its ceilings and beside what cheats would get.

A row is a function that makes clips, handed in by the caller:
    make(prompts, seeds) -> clips, one for each pair (clip: frames uint8 [t h w 3], audio float32 [s], sample_rate)

| system | digit | colour | … |
|---|---|---|---|
| true clips | 99.0 % (96.6–99.7) | …
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from videopoet_jax.evaluate.digits import TextToVideoScore, glyphs_differ, judge, parse, read_clip

COLUMNS = (*TextToVideoScore._fields, "all")


class HasFramesAndSound(Protocol):
    frames: np.ndarray
    audio: np.ndarray
    sample_rate: int


class Sample(NamedTuple):
    """A clip to be scored."""

    frames: np.ndarray  # uint8 [t h w 3]
    audio: np.ndarray  # float32 [s]
    sample_rate: int


Make = Callable[[Sequence[str], Sequence[int]], Iterable[HasFramesAndSound]]


class Rate(NamedTuple):
    """So many right of n, with Wilson's 95 % interval."""

    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.n:
            return 0.0, 1.0
        z, n, p = 1.959964, self.n, self.right / self.n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


class Row(NamedTuple):
    """One system's rates; `glyphs` counts prompts whose seeds write differently, the rest count clips."""

    name: str
    rates: dict[str, Rate]
    glyphs: Rate
    scores: tuple[TextToVideoScore, ...]  # one a clip, prompt by prompt, for whoever looks closer


def score_row(name: str, make: Make, prompts: Sequence[str], seeds: Sequence[int]) -> Row:
    """Score what `make` makes of every prompt with every seed."""
    asked = [(prompt, seed) for prompt in prompts for seed in seeds]
    clips = make([prompt for prompt, _ in asked], [seed for _, seed in asked])
    readings = [read_clip(np.asarray(c.frames), np.asarray(c.audio), c.sample_rate) for c in clips]
    if len(readings) != len(asked):
        raise ValueError(f"{name}: {len(readings)} clips for {len(asked)} prompts; a row makes one clip for each.")
    scores = tuple(judge(reading, prompt) for reading, (prompt, _) in zip(readings, asked, strict=True))
    rates = {column: Rate(sum(getattr(s, column) for s in scores), len(scores)) for column in COLUMNS}
    hands = [readings[i : i + len(seeds)] for i in range(0, len(readings), len(seeds))]
    differ = sum(glyphs_differ(h, parse(prompt).digit) for h, prompt in zip(hands, prompts, strict=True))
    return Row(name, rates, Rate(differ, len(prompts)), scores)


def score_table(
    prompts: Sequence[str],
    seeds: Sequence[int],
    systems: Mapping[str, Make],
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Score every system on the same prompts and seeds; `on_row` hears of each row when it is ready."""
    rows = []
    for name, make in systems.items():
        rows.append(score_row(name, make, prompts, seeds))
        on_row(rows[-1])
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as text, n in the heading, 95 % intervals in brackets."""
    clips, prompts = rows[0].rates["all"].n, rows[0].glyphs.n
    lines = [
        f"| n = {clips} clips, {prompts} prompts | " + " | ".join(COLUMNS) + " | glyphs differ |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for row in rows:
        lines.append(f"| {row.name} | " + " | ".join(str(row.rates[c]) for c in COLUMNS) + f" | {row.glyphs} |")
    return "\n".join(lines)


def to_json(rows: Sequence[Row]) -> list[dict]:
    """The table as plain numbers."""
    return [
        {"name": row.name}
        | {
            column: {"right": rate.right, "n": rate.n, "share": rate.share, "interval": list(rate.interval)}
            for column, rate in (row.rates | {"glyphs": row.glyphs}).items()
        }
        for row in rows
    ]


def repeat_first_frame(true: Make) -> Make:
    """Cheat: the first frame of the true clip, held, with the true sound."""

    def make(prompts, seeds):
        for clip in true(prompts, seeds):
            yield Sample(np.repeat(clip.frames[:1], len(clip.frames), 0), clip.audio, clip.sample_rate)

    return make


def always(sample: Sample) -> Make:
    """The same clip whatever is asked."""
    return lambda prompts, seeds: [sample] * len(prompts)


def black(like: Sample) -> Make:
    """Cheat: nothing at all."""
    return always(Sample(np.zeros_like(like.frames), np.zeros_like(like.audio), like.sample_rate))


def mean_fill(training: Sequence[tuple[str, Sample]]) -> Make:
    """Cheat: the mean of the training clips, whatever is asked."""
    frames = np.mean([sample.frames for _, sample in training], 0).round().astype(np.uint8)
    audio = np.mean([sample.audio for _, sample in training], 0)
    return always(Sample(frames, audio, training[0][1].sample_rate))


def nearest_training_clip(training: Sequence[tuple[str, Sample]]) -> Make:
    """Cheat: a training clip whose caption shares the most with the prompt; seeds choose among the equally near."""
    wishes = [parse(caption) for caption, _ in training]

    def make(prompts, seeds):
        for prompt, seed in zip(prompts, seeds, strict=True):
            near = [sum(a == b for a, b in zip(parse(prompt), wish, strict=True)) for wish in wishes]
            best = [i for i, n in enumerate(near) if n == max(near)]
            yield training[best[seed % len(best)]][1]

    return make


def cheats(true: Make, training: Sequence[tuple[str, Sample]]) -> dict[str, Make]:
    """All cheats that need no model, by the names of their rows; `training` holds captions and clips that were seen."""
    return {
        "true first frame, held": repeat_first_frame(true),
        "black and silent": black(training[0][1]),
        "mean of training": mean_fill(training),
        "nearest training clip": nearest_training_clip(training),
    }
