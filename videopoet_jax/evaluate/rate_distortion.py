"""How much a copy costs and how like it is: systems compared at equal bits, over clips.

A system on one clip is a list of points. A codec has one for each of its qualities, a tokenizer a single one:

    H.265      (0.02, 21 dB) (0.04, 24 dB) (0.08, 27 dB)       at 0.05 bits a pixel: 25.0 dB, between its points
    tokenizer  (0.05, 23 dB)                                   for 23 dB H.265 needs 0.032: 0.63 of the bits

Between points, figures are interpolated over the logarithm of the rate by Fritsch and Carlson's monotone cubic, as in
JCT-VC's Bjøntegaard deltas. Beyond a codec's points nothing is guessed: its last point stands, and is marked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.interpolate import PchipInterpolator

from videopoet_jax.evaluate.quality import ms_ssim_scales


class Measure(NamedTuple):
    """A figure of a point: its name in tables, its digits, and whether more is better."""

    label: str
    digits: int
    rising: bool


QUALITY = {
    "psnr": Measure("PSNR dB", 2, True),
    "psnr_luma": Measure("luma PSNR dB", 2, True),
    "ms_ssim": Measure("MS-SSIM", 4, True),
    "lpips": Measure("LPIPS", 4, False),
    "vmaf": Measure("VMAF", 1, True),
}
COST = {
    "encode_ms": Measure("encode ms/frame", 1, False),
    "decode_ms": Measure("decode ms/frame", 1, False),
}
MEASURES = QUALITY | COST


def labels(height: int, width: int) -> dict[str, str]:
    """What tables call the figures of pictures of that size: MS-SSIM with the number of scales that fit into them."""
    scales = ms_ssim_scales(height, width)
    return {n: m.label for n, m in MEASURES.items()} | {"ms_ssim": f"MS-SSIM ({scales} scale{'s' * (scales > 1)})"}


class Point(NamedTuple):
    """One copy of one clip: bits a pixel, and its figures by the names of `MEASURES`."""

    rate: float
    figures: Mapping[str, float]


Points = Sequence[Point]


class At(NamedTuple):
    """A value read off a curve; `beyond` is -1 (1) where it was asked for below (above) the curve, whose end it is."""

    value: float
    beyond: int


def bracket(
    qualities: Sequence[int], measure: Callable[[int], Point], low: int | float, high: int | float
) -> list[Point]:
    """Points from the middle of `qualities` (fewest bits first) outwards, until rates from `low` to `high` are covered.

    rates 1 2 4 8 16, low 3, high 5  →  those of 4 8, then 2; the others are never encoded
    """
    first = last = len(qualities) // 2
    points = [measure(qualities[first])]
    while points[-1].rate < high and last + 1 < len(qualities):
        last += 1
        points.append(measure(qualities[last]))
    while points[0].rate > low and first > 0:
        first -= 1
        points.insert(0, measure(qualities[first]))
    return points


def at_rate(points: Points, rate: int | float, name: str) -> At:
    """The figure `name` at that rate."""
    rates, values = _rising(points, lambda p: p.rate, lambda p: p.figures[name])
    if not rates[0] < rate < rates[-1]:
        end = 0 if rate <= rates[0] else -1
        return At(float(values[end]), int(np.sign(rate - rates[end])))
    return At(float(PchipInterpolator(np.log(rates), values)(math.log(rate))), 0)


def rate_at(points: Points, value: int | float, name: str) -> At:
    """The rate at which `at_rate` first has that value; points that cost more and are no better do not count."""
    sign = 1 if MEASURES[name].rising else -1
    ordered = sorted(points, key=lambda p: p.rate)
    best = np.maximum.accumulate([sign * p.figures[name] for p in ordered])
    kept = [i for i in range(len(best)) if i == 0 or best[i] > best[i - 1]]
    qualities, rates = best[kept], [ordered[i].rate for i in kept]
    if not qualities[0] <= sign * value <= qualities[-1] or len(kept) == 1:
        end = 0 if sign * value <= qualities[0] else -1
        return At(rates[end], int(np.sign(sign * value - qualities[end])))
    (log_rate, *_) = PchipInterpolator(np.log(rates), qualities).solve(sign * value, extrapolate=False)
    return At(math.exp(log_rate), 0)


def bd_rate(anchor: Points, other: Points, name: str) -> float | None:
    """Bjøntegaard delta rate: the mean extra bits of `other` at equal quality; -0.3 are 30 % fewer.

    None if the curves share no range of quality.
    """
    sign = 1 if MEASURES[name].rising else -1
    curves = [
        _rising(points, lambda p: sign * p.figures[name], lambda p: math.log(p.rate)) for points in (anchor, other)
    ]
    low, high = max(q[0] for q, _ in curves), min(q[-1] for q, _ in curves)
    if low >= high:
        return None
    means = [PchipInterpolator(q, logs).integrate(low, high) / (high - low) for q, logs in curves]
    return math.expm1(means[1] - means[0])


def mean_curve(clips: Sequence[Points], name: str, samples: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Rates that all clips' curves cover, and the mean of the clips' figures there; empty if there are none."""
    low = max(min(p.rate for p in points) for points in clips)
    high = min(max(p.rate for p in points) for points in clips)
    rates = np.geomspace(low, high, samples) if low < high else np.empty(0)
    return rates, np.array([np.mean([at_rate(points, rate, name).value for points in clips]) for rate in rates])


def static_bits(codes: Int[np.ndarray, "..."], vocabulary: int) -> float:
    """Bits a code after an ideal static code of each binary digit by itself, whose frequencies are those of `codes`.

    No more than log2 of the vocabulary. (The entropy of whole codes cannot be told from fewer codes than there are in
    the vocabulary: 1,280 of 2^18 would seem to need 10 bits each.)
    """
    digits = (codes.reshape(-1, 1) >> np.arange((vocabulary - 1).bit_length())) & 1
    p = digits.mean(axis=0)
    logs = [np.log2(np.where(x > 0, x, 1)) for x in (p, 1 - p)]
    return min(float(-np.sum(p * logs[0] + (1 - p) * logs[1])), math.log2(vocabulary))


@dataclass(frozen=True)
class Comparison:
    """A codec beside a tokenizer on `clips` clips, each at the tokenizer's bits of that clip.

    figures: the codec's means there. rate: its bits a pixel, more than the tokenizer's if it cannot go as low on
    `too_low` of the clips. ahead: clips on which the tokenizer is better. share: its bits at the tokenizer's quality
    over the tokenizer's (geometric mean), and -1 (1) if that is only an upper (lower) bound; None if it is neither.
    """

    codec: str
    clips: int
    rate: float
    too_low: int
    figures: dict[str, float]
    ahead: dict[str, int]
    share: dict[str, At | None]


def compare(name: str, tokenizer: Sequence[Point], codec: Sequence[Points]) -> Comparison:
    """`tokenizer` has a point for each clip, `codec` a curve for each, in the same order."""
    pairs = list(zip(tokenizer, codec, strict=True))
    names = list(tokenizer[0].figures)
    rates = [np.clip(point.rate, *_span(curve)) for point, curve in pairs]
    found = {n: [at_rate(curve, point.rate, n).value for point, curve in pairs] for n in names}
    ahead, share = {}, {}
    for n in (n for n in names if n in QUALITY):
        sign = 1 if QUALITY[n].rising else -1
        ahead[n] = sum(sign * (p.figures[n] - v) > 0 for (p, _), v in zip(pairs, found[n], strict=True))
        needed = [rate_at(curve, point.figures[n], n) for point, curve in pairs]
        mean = math.exp(np.mean([math.log(r.value / p.rate) for r, (p, _) in zip(needed, pairs, strict=True)]))
        sides = {r.beyond for r in needed} - {0}
        share[n] = None if len(sides) == 2 else At(mean, sides.pop() if sides else 0)
    return Comparison(
        codec=name,
        clips=len(pairs),
        rate=float(np.mean(rates)),
        too_low=sum(point.rate < _span(curve)[0] for point, curve in pairs),
        figures={n: float(np.mean(values)) for n, values in found.items()},
        ahead=ahead,
        share=share,
    )


def to_markdown(
    tokenizer: str, points: Sequence[Point], comparisons: Sequence[Comparison], labels: Mapping[str, str]
) -> str:
    """Two tables: all at the tokenizer's bits, and the bits that codecs need for the tokenizer's quality."""
    names = [n for n in MEASURES if n in points[0].figures]
    heads = [labels[n] for n in names]
    count, rate = len(points), np.mean([p.rate for p in points])
    own = [f"{np.mean([p.figures[n] for p in points]):.{MEASURES[n].digits}f}" for n in names]
    lines = [
        _row(f"{count} clips at equal bits (of which {tokenizer} is ahead on)", "bits/pixel", *heads),
        _row(*["---"] * (2 + len(names))),
        _row(tokenizer, f"{rate:.4f}", *own),
    ]
    for c in comparisons:
        cells = [f"{c.figures[n]:.{MEASURES[n].digits}f}" + (f" ({c.ahead[n]})" if n in c.ahead else "") for n in names]
        lines.append(_row(c.codec, f"{c.rate:.4f}", *cells))
    lines += [
        f"{c.codec} cannot go as low on {c.too_low} of {c.clips} clips: its fewest bits stand there, which are more."
        for c in comparisons
        if c.too_low
    ]
    judged = [n for n in names if n in QUALITY]
    lines += [
        "",
        _row(f"bits for the same quality ({tokenizer}: 1)", *(labels[n] for n in judged)),
        _row(*["---"] * (1 + len(judged))),
        *(_row(c.codec, *(_share(c.share[n]) for n in judged)) for c in comparisons),
    ]
    return "\n".join(lines)


def _share(share: At | None) -> str:
    return "–" if share is None else f"{('≤ ', '', '≥ ')[share.beyond + 1]}{share.value:.2f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _span(points: Points) -> tuple[float, float]:
    return min(p.rate for p in points), max(p.rate for p in points)


def _rising(points: Points, x: Callable[[Point], float], y: Callable[[Point], float]) -> tuple[np.ndarray, np.ndarray]:
    """x and y by rising x; of points that do not rise (in rate: at an encoder's floor) the first stands."""
    kept: list[tuple[float, float]] = []
    for pair in sorted((x(p), y(p)) for p in points):
        if not kept or pair[0] > kept[-1][0]:
            kept.append(pair)
    xs, ys = np.array(kept).T
    return xs, ys
