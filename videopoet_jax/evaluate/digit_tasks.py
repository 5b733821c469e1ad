"""Scores of the tasks beside text-to-video on `moving_digits` (level 1), by what is seen and heard alone.

    text_to_image               right: digit and colour of the caption
    text_to_video               right: all that `digits.judge` asks for
    unconditional               right: a clip of this world (`digits.score_unconditional`)
    frame_prediction_5 …        right: digit, colour, and the end within NEAR units of the truth's; `end`: how far off
    inpainting, outpainting     right: digit and colour; `decibels`: PSNR of what of the digit was in the hole
    audio_video_continuation    right: digit, colour, path and pitch

Nothing here shares code with the renderer or a model: a case is a true clip, its caption and, for painting, the clip
with its hole.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from videopoet_jax.evaluate.digit_reader import read_frames
from videopoet_jax.evaluate.digit_table import Rate, Sample
from videopoet_jax.evaluate.digits import end_error, judge, parse, read_clip, score_unconditional
from videopoet_jax.evaluate.reconstruction import number
from videopoet_jax.evaluate.resampling import Estimate, draw_films, estimate

NEAR = 2.0  # units (pixels at 64×64) from the true end within which a prediction is right
INK = 40  # brightness from which a pixel of a black clip is the digit's
DRAWS = 2_000  # of the bootstrap


class Case(NamedTuple):
    """What a model's clip is held against."""

    caption: str
    frames: UInt8[np.ndarray, "t h w 3"]
    audio: Float[np.ndarray, " s"]
    sample_rate: int
    painted: UInt8[np.ndarray, "t h w 3"] | None = None  # the clip with its hole, of painting


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
    digit = (case.frames.max(-1) >= INK) & (case.painted != case.frames).any(-1)
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
    known = ", ".join(_SCORERS).replace(r"\d+", "N").replace("|", ", ")
    raise ValueError(f"task {task!r}: no score on moving_digits; use one of {known}.")


def is_scored(task: str) -> bool:
    """Whether `scorer_of` knows a task."""
    return any(re.fullmatch(pattern, task) for pattern in _SCORERS)


def cheat(task: str, case: Case) -> Sample:
    """The clip of who does nothing: holds the last frame that is given, leaves a hole as it is, is black and silent."""
    frames, audio = case.frames, case.audio
    if case.painted is not None:
        return Sample(case.painted, np.zeros_like(audio), case.sample_rate)
    if match := re.fullmatch(r"frame_prediction_(\d+)", task):
        given = int(match[1])
        held = np.repeat(frames[given - 1 : given], len(frames) - given, axis=0)
        return Sample(np.concatenate([frames[:given], held]), audio, case.sample_rate)
    if task == "audio_video_continuation":
        first = audio[: len(audio) // len(frames)]
        return Sample(np.repeat(frames[:1], len(frames), 0), np.resize(first, len(audio)), case.sample_rate)
    return Sample(np.zeros_like(frames), np.zeros_like(audio), case.sample_rate)


def summary(task: str, samples: Sequence[Sample], cases: Sequence[Case]) -> dict[str, Rate | Estimate]:
    """The share of clips that is right, and the median of each further figure over the cases that have it."""
    scorer = scorer_of(task)
    scores = [scorer(sample, case) for sample, case in zip(samples, cases, strict=True)]
    draws = draw_films([case.caption for case in cases], resamples=DRAWS, seed=0)  # clips of one caption are alike
    out: dict[str, Rate | Estimate] = {"right": Rate(int(sum(s["right"] for s in scores)), len(scores))}
    for name in scores[0]:
        if name != "right":
            figure = functools.partial(_median, np.array([s[name] for s in scores]))
            out[name] = estimate(figure, clips=len(scores), draws=draws)
    return out


def _median(values: Float[np.ndarray, " n"], picked: Int[np.ndarray, " _p"]) -> float:
    """Of those that are numbers, which may be infinite."""
    found = values[picked]
    found = found[~np.isnan(found)]
    return float(np.median(found)) if len(found) else np.nan


def to_markdown(rows: Mapping[str, Mapping[str, Mapping[str, Rate | Estimate]]]) -> str:
    """`{"nano": {"inpainting": {"right": …, "decibels": …}}}` → a table: a line a figure, a column a system."""
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    figures = dict.fromkeys((task, name) for row in rows.values() for task, part in row.items() for name in part)
    for task, name in figures:
        cells = [_cell(row[task][name]) if name in row.get(task, {}) else "–" for row in rows.values()]
        lines.append(f"| {task}{'' if name == 'right' else f', {name}'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figure: Rate | Estimate) -> str:
    if isinstance(figure, Rate):
        return str(figure)
    value, low, high = (number(x, 1) for x in (figure.value, figure.low, figure.high))
    return f"{value} ({low} … {high})"


def to_json(rows: Mapping[str, Mapping[str, Mapping[str, Rate | Estimate]]]) -> dict:
    """The table as plain numbers; what is infinite is null."""

    def plain(figure: Rate | Estimate) -> dict:
        if isinstance(figure, Rate):
            return {"right": figure.right, "n": figure.n, "share": figure.share, "interval": list(figure.interval)}
        median = figure.value if np.isfinite(figure.value) else None
        return {"median": median, "interval": [figure.low, figure.high]}

    return {
        system: {task: {name: plain(f) for name, f in part.items()} for task, part in row.items()}
        for system, row in rows.items()
    }
