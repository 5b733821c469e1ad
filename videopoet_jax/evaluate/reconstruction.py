"""Copies of real clips by video tokenizers, beside copies that cost nothing → one table.

    batches   (clips uint8 [b t h w 3], the film of each clip)
    systems   {name: clips → Copies}
    judges    LPIPS and I3D, out of the folder that `launch/fetch_weights.sh` wrote
    evaluate(batches, systems, judges)  →  Report;  to_markdown(report), to_json(report)

PSNR is of the error of all pixels of all clips together (a mean of decibels would be infinite for one exact copy), SSIM
and LPIPS are means over frames. LPIPS is AlexNet's, which its authors advise for measuring: our tokenizers train
against VGG16's. Motion is the length of the copies' optical flow over that of the originals, of every third pair of
frames, clip by clip from another one on, so that no tokenizer's rhythm is met. A second table has each system's
difference from the first with its interval: films are drawn anew for all systems together (`resampling`).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from videopoet_jax.evaluate.frechet import frechet_distance, real_floor
from videopoet_jax.evaluate.quality import block_mean, repeat_last, ssim_clip
from videopoet_jax.evaluate.resampling import Estimate, Picked, difference, draw_films, estimate
from videopoet_jax.layers.motion import flow_length

FIGURES = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 3), "lpips": ("LPIPS", 3), "fvd": ("FVD", 0)}  # label, digits
SPLITS, RESAMPLES, SEED, FLOW_EVERY = 20, 200, 0, 3
LEAST_CLIPS = 4  # two halves of two clips: each has a covariance

Clips = UInt8[np.ndarray, "b t h w 3"]


class Copies(NamedTuple):
    """`codes` and the size of their vocabulary where a tokenizer made the copies, else None."""

    video: Clips
    codes: Int[np.ndarray, " b *grid"] | None = None
    vocabulary_size: int | None = None


class Judges(NamedTuple):
    """Two functions of uint8 clips: LPIPS of each (the mean of its frames), and I3D's features of each."""

    lpips: Callable[[Clips, Clips], Float[np.ndarray, " b"]]
    features: Callable[[Clips], Float[np.ndarray, "b v"]]


class Row(NamedTuple):
    """One system; `bits_per_pixel`, `codes_used` and `vocabulary_size` are None for what has no codes."""

    name: str
    psnr: Estimate  # infinite: exact copies
    ssim: Estimate
    lpips: Estimate
    fvd: Estimate
    motion: float | None  # None: nothing moves in the originals
    bits_per_pixel: float | None
    codes_used: int | None
    vocabulary_size: int | None


class Report(NamedTuple):
    rows: list[Row]
    clips: int
    films: int
    frames: int
    height: int
    width: int
    floor: float


PLAIN: dict[str, Callable[[Clips], Copies]] = {
    "first frame repeated": lambda clips: Copies(np.stack([repeat_last(c[:1], len(c)) for c in clips])),
    "8×8×4 block means": lambda clips: Copies(np.stack([block_mean(c) for c in clips])),
}


def load_judges(weights: str | os.PathLike) -> Judges:
    """The real ones."""
    import jax

    from videopoet_jax.evaluate.i3d import load_i3d, make_features
    from videopoet_jax.evaluate.lpips import load_perceptual

    perceptual = load_perceptual(weights)
    if not (Path(weights) / "i3d" / "config.json").is_file():
        raise ValueError(f"{weights}: no i3d in it; fetch it with ./launch/fetch_weights.sh {weights}.")
    i3d, params = load_i3d(Path(weights) / "i3d")
    params, features = jax.device_put(params), make_features(i3d)
    return Judges(
        lambda one, other: perceptual(one, other).mean(axis=1),
        lambda clips: np.asarray(features(params, clips)),
    )


class Tally:
    """What is kept of the clips of one system: a few numbers and I3D's features of each."""

    def __init__(self, name: str) -> None:
        self.name, self.vocabulary_size, self.tokens, self.motion = name, None, 0, 0.0
        self.error: list[float] = []  # summed over all values of a clip
        self.ssim: list[float] = []
        self.lpips: list[float] = []
        self.features: list[np.ndarray] = []
        self.codes = np.zeros(0, np.int64)

    def add(self, truth: Clips, copies: Copies, judges: Judges, count: int) -> None:
        """The first `count` of a batch; the others only fill it."""
        if copies.video.shape != truth.shape:
            raise ValueError(
                f"{self.name}: copies {copies.video.shape} of clips {truth.shape}; choose frames and a size that suit "
                f"every tokenizer."
            )
        lpips, features = judges.lpips(truth, copies.video), judges.features(copies.video)
        truth, video = truth[:count], copies.video[:count]
        self.motion += motion(video, len(self.error))
        self.error += np.sum((truth.astype(np.float64) - video) ** 2, axis=(1, 2, 3, 4)).tolist()
        self.ssim += np.asarray(ssim_clip(truth, video), np.float64).tolist()
        self.lpips += np.asarray(lpips[:count], np.float64).tolist()
        self.features += list(features[:count])
        if copies.codes is not None:
            codes = copies.codes[:count]
            self.codes, self.tokens = np.union1d(self.codes, codes), self.tokens + codes.size
            self.vocabulary_size = copies.vocabulary_size

    def row(self, real: Float[np.ndarray, "b v"], draws: list[Picked], values: int, moved: float) -> Row:
        """`values`: numbers in one original (3 a pixel); `moved`: the sum of the originals' flow."""
        clips, made, coded = len(real), np.stack(self.features), self.vocabulary_size is not None
        error, ssim, lpips = (np.asarray(x) for x in (self.error, self.ssim, self.lpips))

        def psnr(picked: Picked) -> float:
            mean = error[picked].mean() / values
            return float(10 * np.log10(255**2 / mean)) if mean else float("inf")

        figures = (
            psnr,
            lambda picked: ssim[picked].mean(),
            lambda picked: lpips[picked].mean(),
            lambda picked: frechet_distance(real[picked], made[picked]),
        )
        return Row(
            self.name,
            *(estimate(figure, clips=clips, draws=draws) for figure in figures),
            self.motion / moved if moved else None,
            self.tokens * float(np.log2(self.vocabulary_size)) / (clips * values / 3) if coded else None,
            len(self.codes) if coded else None,
            self.vocabulary_size,
        )


def motion(clips: Clips, number: int) -> float:
    """The sum of the flow of every third pair of frames; `number`: of the first of these clips among all."""
    return float(sum(flow_length(clip, FLOW_EVERY, i % FLOW_EVERY).sum() for i, clip in enumerate(clips, start=number)))


def evaluate(
    batches: Iterable[tuple[Clips, list[str]]],
    systems: Mapping[str, Callable[[Clips], Copies]],
    judges: Judges,
    on_batch: Callable[[int], None] = lambda clips: None,
) -> Report:
    """Scores every system on the same clips, in memory that grows only by 400 features a clip and system.

    All batches but the last have one size; the last is filled up with its last clip, so that nothing compiles twice.

    Raises:
        ValueError: fewer than `LEAST_CLIPS` clips, before anything is computed of them; copies of another shape.
    """
    batches = _enough(batches)
    tallies = {name: Tally(name) for name in systems}
    real, films, moved, shape, size = [], [], 0.0, None, None
    for batch, names in batches:
        moved += motion(batch, len(films))
        films += names
        size, count = size or len(batch), len(batch)
        full = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
        shape = batch.shape[1:]
        real.append(judges.features(full)[:count])
        for name, copy in systems.items():
            tallies[name].add(full, copy(full), judges, count)
        on_batch(len(films))
    features, values = np.concatenate(real), int(np.prod(shape))
    draws = draw_films(films, resamples=RESAMPLES, seed=SEED)
    rows = [tally.row(features, draws, values, moved) for tally in tallies.values()]
    floor = real_floor(features, splits=SPLITS, seed=SEED)
    return Report(rows, len(features), len(set(films)), *shape[:3], floor)


def _enough(batches: Iterable[tuple[Clips, list[str]]]) -> Iterator[tuple[Clips, list[str]]]:
    """The same batches; they are looked at up to the fourth clip at once."""
    batches, first, count = iter(batches), [], 0
    while count < LEAST_CLIPS:
        batch = next(batches, None)
        if batch is None:
            raise ValueError(
                f"{count} clips: a Fréchet distance and its floor need {LEAST_CLIPS}; give longer videos or more of "
                f"them, or shorter clips."
            )
        first.append(batch)
        count += len(batch[0])
    return chain(first, batches)


def number(value: float | None, digits: int, missing: str = "–", sign: str = "") -> str:
    """A figure as tables show it; `missing` where there is none or it is infinite."""
    return missing if value is None or not np.isfinite(value) else f"{value:{sign}.{digits}f}"


def to_markdown(report: Report) -> str:
    """The tables that are printed: the figures, and what each system has more than the first."""
    about = f"{report.clips} clips of {report.films} films, {report.frames}×{report.height}×{report.width}"
    lines = [
        f"| {about} | PSNR dB | SSIM | LPIPS | FVD (95 %) | bits a pixel | codes used | motion |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in report.rows:
        codes = "" if r.codes_used is None else f"{r.codes_used / r.vocabulary_size:.1%} of {r.vocabulary_size:,}"
        lines.append(
            f"| {r.name} | {number(r.psnr.value, 2, 'exact')} | {r.ssim.value:.3f} | {r.lpips.value:.3f} "
            f"| {r.fvd.value:.0f} ({number(r.fvd.low, 0)} … {number(r.fvd.high, 0)}) "
            f"| {number(r.bits_per_pixel, 4, '')} | {codes} | {number(r.motion, 2)} |"
        )
    halves = f"real against real, {report.clips // 2} clips each"
    lines.append(f"| {halves} | | | | {report.floor:.0f} | | | 1 |")
    first, *others = report.rows
    lines += ["", f"| more than {first.name} (95 %) | {' | '.join(label for label, _ in FIGURES.values())} |"]
    lines += ["|---|---|---|---|---|"]
    for row in others:
        cells = []
        for name, (_, digits) in FIGURES.items():
            more = difference(getattr(row, name), getattr(first, name))
            low, value, high = (number(x, digits, sign="+") for x in (more.low, more.value, more.high))
            cells.append(f"{value} ({low} … {high})")
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def to_json(report: Report) -> dict:
    """The same, with every digit; null where a figure is infinite or unknown."""

    def plain(e: Estimate) -> dict[str, float | None]:
        return {"value": e.value if np.isfinite(e.value) else None, "low": e.low, "high": e.high}

    rows = []
    for row in report.rows:
        figures = {name: plain(getattr(row, name)) for name in FIGURES}
        more = {n: plain(difference(getattr(row, n), getattr(report.rows[0], n))) for n in FIGURES}
        rows.append({**row._asdict(), **figures, "more_than_first": more})
    return {**report._asdict(), "rows": rows}
