"""Scores of the tasks beside text-to-video on `moving_digits` (level 1), by what is seen and heard alone.

    text_to_image               right: digit and colour of the caption
    text_to_video               right: all that `digits.judge` asks for
    unconditional               right: a clip of this world (`digits.score_unconditional`)
    frame_prediction_5 …        right: digit, colour, and the end within NEAR units of the truth's; `end`: how far off
    inpainting, outpainting     right: digit and colour; `decibels`: PSNR of what of the digit was in the hole
    audio_video_continuation    right: digit, colour, path and pitch

Nothing here shares code with the renderer or a model: a case is a true clip, its caption and, of painting, its hole.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from videopoet_jax.evaluate.digit_reader import read_frames
from videopoet_jax.evaluate.digit_table import Rate, Sample
from videopoet_jax.evaluate.digits import end_error, judge, parse, read_clip, score_unconditional

NEAR = 2.0  # units (pixels at 64×64) from the true end within which a prediction is right
INK = 40  # brightness from which a pixel of a black clip is the digit's
DRAWS = 2_000  # of the bootstrap


class Case(NamedTuple):
    """What a model's clip is held against."""

    caption: str
    frames: UInt8[np.ndarray, "t h w 3"]
    audio: Float[np.ndarray, " s"]
    sample_rate: int
    hole: Bool[np.ndarray, "t h w"] | None = None


Score = dict[str, float]  # "right": 0 or 1; further figures by name, nan where a case has none


def _text_to_image(made: Sample, case: Case) -> Score:
    seen, wish = read_frames(made.frames[:1]), parse(case.caption)
    return {"right": float(seen.digits[0] == wish.digit and seen.colours[0] == wish.colour)}


def _text_to_video(made: Sample, case: Case) -> Score:
    return {"right": float(judge(read_clip(made.frames, made.audio, made.sample_rate), case.caption).all)}


def _unconditional(made: Sample, case: Case) -> Score:
    return {"right": float(score_unconditional(made.frames, made.audio, made.sample_rate).all)}


def _frame_prediction(made: Sample, case: Case) -> Score:
    score, end = _judged(made, case), end_error(made.frames, case.frames)
    return {"right": float(score.digit and score.colour and end <= NEAR), "end": float(end)}


def _painting(made: Sample, case: Case) -> Score:
    score = _judged(made, case)
    digit = (case.frames.max(-1) >= INK) & case.hole
    error = np.mean((made.frames[digit].astype(np.float64) - case.frames[digit]) ** 2) if digit.any() else np.nan
    decibels = 10 * np.log10(255.0**2 / max(error, 1e-3)) if digit.any() else np.nan
    return {"right": float(score.digit and score.colour), "decibels": float(decibels)}


def _audio_video_continuation(made: Sample, case: Case) -> Score:
    score = _judged(made, case)
    return {"right": float(score.digit and score.colour and score.path and score.pitch)}


def _judged(made: Sample, case: Case):
    return judge(read_clip(made.frames, made.audio, made.sample_rate), case.caption)


_SCORERS: dict[str, Callable[[Sample, Case], Score]] = {
    "text_to_image": _text_to_image,
    "text_to_video": _text_to_video,
    "unconditional": _unconditional,
    r"frame_prediction_\d+": _frame_prediction,
    "inpainting|outpainting": _painting,
    "audio_video_continuation": _audio_video_continuation,
}


def scorer_of(task: str) -> Callable[[Sample, Case], Score]:
    """(a model's clip, its case) → its score.

    Raises:
        ValueError: a task that nothing here can score.
    """
    for pattern, scorer in _SCORERS.items():
        if re.fullmatch(pattern, task):
            return scorer
    known = "text_to_image, text_to_video, unconditional, frame_prediction_N, inpainting, outpainting"
    raise ValueError(f"task {task!r}: no score on moving_digits; use {known} or audio_video_continuation.")


def cheat(task: str, case: Case) -> Sample:
    """The clip of who does nothing: holds the last frame that is given, leaves a hole grey, or is black and silent."""
    frames, audio = case.frames, case.audio
    if case.hole is not None:
        return Sample(np.where(case.hole[..., None], np.uint8(128), frames), np.zeros_like(audio), case.sample_rate)
    if match := re.fullmatch(r"frame_prediction_(\d+)", task):
        given = int(match[1])
        held = np.repeat(frames[given - 1 : given], len(frames) - given, axis=0)
        return Sample(np.concatenate([frames[:given], held]), audio, case.sample_rate)
    if task == "audio_video_continuation":
        first = audio[: len(audio) // len(frames)]
        return Sample(np.repeat(frames[:1], len(frames), 0), np.resize(first, len(audio)), case.sample_rate)
    return Sample(np.zeros_like(frames), np.zeros_like(audio), case.sample_rate)


class Estimate(NamedTuple):
    """The median of a figure over cases, with a bootstrap interval of 95 %; infinite where half of them are."""

    middle: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.middle:.1f} ({self.low:.1f} … {self.high:.1f})"


def summary(task: str, samples: Sequence[Sample], cases: Sequence[Case]) -> dict[str, Rate | Estimate]:
    """The share of clips that is right, and the median of each further figure."""
    scorer = scorer_of(task)
    scores = [scorer(sample, case) for sample, case in zip(samples, cases, strict=True)]
    out: dict[str, Rate | Estimate] = {"right": Rate(int(sum(s["right"] for s in scores)), len(scores))}
    for name in scores[0]:
        if name != "right":
            out[name] = median([s[name] for s in scores])
    return out


def median(values: Iterable[float], seed: int = 0) -> Estimate:
    """Of those that are numbers: `nan 1 2 3 → 2`."""
    found = np.array([v for v in values if not np.isnan(v)])
    if not len(found):
        return Estimate(np.nan, np.nan, np.nan, 0)
    draws = np.random.default_rng(seed).integers(0, len(found), (DRAWS, len(found)))
    # The upper of two middles: their mean would be no number where one is infinite.
    middles = np.sort(found[draws], axis=1)[:, len(found) // 2]
    low, high = np.percentile(middles, [2.5, 97.5], method="nearest")
    return Estimate(float(np.sort(found)[len(found) // 2]), float(low), float(high), len(found))


def to_markdown(rows: Mapping[str, Mapping[str, Mapping[str, Rate | Estimate]]]) -> str:
    """`{"nano": {"inpainting": {"right": …, "decibels": …}}}` → a table: a line a figure, a column a system."""
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    figures = dict.fromkeys((task, name) for row in rows.values() for task, part in row.items() for name in part)
    for task, name in figures:
        cells = [str(row[task][name]) if name in row.get(task, {}) else "–" for row in rows.values()]
        lines.append(f"| {task}{'' if name == 'right' else f', {name}'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def to_json(rows: Mapping[str, Mapping[str, Mapping[str, Rate | Estimate]]]) -> dict:
    """The table as plain numbers; what is infinite is null."""

    def plain(figure: Rate | Estimate) -> dict:
        if isinstance(figure, Rate):
            return {"right": figure.right, "n": figure.n, "share": figure.share, "interval": list(figure.interval)}
        numbers = [None if not np.isfinite(v) else v for v in figure[:3]]
        return {"median": numbers[0], "interval": numbers[1:], "n": figure.n}

    return {
        system: {task: {name: plain(f) for name, f in part.items()} for task, part in row.items()}
        for system, row in rows.items()
    }
