"""Copies of real clips by video tokenizers, beside copies that cost nothing → one table.

    batches   (clips uint8 [b t h w 3], the film of each clip)
    systems   {name: clips → Copies}
    judges    LPIPS and I3D, out of the folder that `launch/fetch_weights.sh` wrote
    evaluate(batches, systems, judges)  →  Report;  to_markdown(report), to_json(report)

PSNR is of the error of all pixels of all clips together (a mean of decibels would be infinite for one exact copy), SSIM
and LPIPS are means over frames. LPIPS is AlexNet's, which its authors advise for measuring: our tokenizers train
against VGG16's. Motion is the length of the copies' optical flow over that of the originals, of every third pair of
frames, which is no tokenizer's rhythm.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from videopoet_jax.evaluate.frechet import Frechet, compare, real_floor
from videopoet_jax.evaluate.motion import flow_length
from videopoet_jax.evaluate.quality import block_mean, repeat_last, ssim_clip

SPLITS, RESAMPLES, SEED, FLOW_EVERY = 20, 200, 0, 3

Clips = UInt8[np.ndarray, "b t h w 3"]


class Copies(NamedTuple):
    """`codes` and the size of their vocabulary where a tokenizer made the copies, else None."""

    video: Clips
    codes: Int[np.ndarray, "b *grid"] | None = None
    vocabulary_size: int | None = None


class Judges(NamedTuple):
    """Two functions of uint8 clips: LPIPS of each (the mean of its frames), and I3D's features of each."""

    lpips: Callable[[Clips, Clips], Float[np.ndarray, " b"]]
    features: Callable[[Clips], Float[np.ndarray, "b v"]]


class Row(NamedTuple):
    """One system; `bits_per_pixel`, `codes_used` and `vocabulary_size` are None for what has no codes."""

    name: str
    psnr: float | None  # None: exact copies
    ssim: float
    lpips: float
    fvd: Frechet
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
    """Sums over the clips of one system."""

    def __init__(self, name: str) -> None:
        self.name, self.vocabulary_size, self.tokens = name, None, 0
        self.error, self.ssim, self.lpips, self.motion = 0.0, 0.0, 0.0, 0.0
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
        self.error += float(np.sum((truth.astype(np.float64) - video) ** 2))
        self.ssim += float(np.sum(ssim_clip(truth, video)))
        self.lpips += float(np.sum(lpips[:count]))
        self.motion += float(sum(flow_length(clip, FLOW_EVERY).sum() for clip in video))
        self.features.append(features[:count])
        if copies.codes is not None:
            codes = copies.codes[:count]
            self.codes, self.tokens = np.union1d(self.codes, codes), self.tokens + codes.size
            self.vocabulary_size = copies.vocabulary_size

    def row(self, real: Float[np.ndarray, "b v"], films: list[str], values: int, motion: float, floor: float) -> Row:
        """`films`: of each clip; `values`: numbers in all originals (3 a pixel); `motion`: the sum of their flow."""
        made, coded = np.concatenate(self.features), self.vocabulary_size is not None
        mean = self.error / values
        return Row(
            self.name,
            float(10 * np.log10(255**2 / mean)) if mean else None,
            self.ssim / len(made),
            self.lpips / len(made),
            compare(real, made, films, floor=floor, resamples=RESAMPLES, seed=SEED),
            self.motion / motion if motion else None,
            self.tokens * float(np.log2(self.vocabulary_size)) / (values / 3) if coded else None,
            len(self.codes) if coded else None,
            self.vocabulary_size,
        )


def evaluate(
    batches: Iterable[tuple[Clips, list[str]]],
    systems: Mapping[str, Callable[[Clips], Copies]],
    judges: Judges,
    on_batch: Callable[[int], None] = lambda clips: None,
) -> Report:
    """Scores every system on the same clips, in memory that grows only by 400 features a clip.

    All batches but the last have one size; the last is filled up with its last clip, so that nothing compiles twice.
    """
    tallies = {name: Tally(name) for name in systems}
    real, films, motion, shape, size = [], [], 0.0, None, None
    for batch, names in batches:
        films += names
        size, count = size or len(batch), len(batch)
        full = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
        shape = batch.shape[1:]
        real.append(judges.features(full)[:count])
        motion += float(sum(flow_length(clip, FLOW_EVERY).sum() for clip in batch))
        for name, copy in systems.items():
            tallies[name].add(full, copy(full), judges, count)
        on_batch(sum(map(len, real)))
    if sum(map(len, real)) < 4:
        raise ValueError(f"{sum(map(len, real))} clips: a Fréchet distance and its floor need 4; give longer videos.")
    features = np.concatenate(real)
    floor = real_floor(features, splits=SPLITS, seed=SEED)
    values = len(features) * int(np.prod(shape))
    rows = [tally.row(features, films, values, motion, floor) for tally in tallies.values()]
    return Report(rows, len(features), len(set(films)), *shape[:3], floor)


def to_markdown(report: Report) -> str:
    """The table that is printed."""

    def number(value: float | None, digits: int, missing: str = "") -> str:
        return missing if value is None else f"{value:.{digits}f}"

    lines = [
        f"| {report.clips} clips of {report.films} films, {report.frames}×{report.height}×{report.width} "
        "| PSNR dB | SSIM | LPIPS "
        "| FVD (95 %) | bits a pixel | codes used | motion |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in report.rows:
        codes = "" if r.codes_used is None else f"{r.codes_used / r.vocabulary_size:.1%} of {r.vocabulary_size:,}"
        lines.append(
            f"| {r.name} | {number(r.psnr, 2, 'exact')} | {r.ssim:.3f} | {r.lpips:.3f} "
            f"| {r.fvd.distance:.0f} ({number(r.fvd.low, 0, '–')} … {number(r.fvd.high, 0, '–')}) "
            f"| {number(r.bits_per_pixel, 4)} | {codes} | {number(r.motion, 2, '–')} |"
        )
    halves = f"real against real, {report.clips // 2} clips each"
    lines.append(f"| {halves} | | | | {report.floor:.0f} | | | 1 |")
    return "\n".join(lines)


def to_json(report: Report) -> dict:
    """The same, with every digit."""
    rows = [{**row._asdict(), "fvd": row.fvd._asdict()} for row in report.rows]
    return {**report._asdict(), "rows": rows}
