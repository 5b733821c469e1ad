"""The pictures of a curation's report: histograms with bounds, and rows of thumbnails."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from videopoet_jax.pretrained.files import write_atomically

KEPT, HERE, ELSEWHERE = "#0072b2", "#d55e00", "#c0c0c0"  # Okabe and Ito 2008: told apart by the colour-blind too
UNITS = {
    "frames": "how many",
    "duration": "seconds",
    "motion": "share of the shorter side a frame",
    "static": "share of the pairs of frames",
    "black": "share of the frames",
    "letterbox": "share of the picture",
    "sharpness": "variance of the Laplacian",
    "brightness": "0 black to 1 white",
    "colourfulness": "0 grey to 82 highly",
    "has_audio": "has a track of sound",
    "loudness": "dBFS, -120 no sound",
    "silence": "share of the time",
    "caption": "has a caption",
    "caption_words": "how many",
    "duplicate": "repeats an earlier clip",
}
_DECADES = {"motion": 1e-5, "sharpness": 1.0}  # fields over powers of ten, and the value below which all are drawn
_BINS, _ACROSS, _MAX_ID = 24, 4, 22
_STYLE = {"font.size": 8, "axes.titlesize": 8.5, "axes.spines.top": False, "axes.spines.right": False}


class Panel(NamedTuple):
    """One histogram: the values of a field, which clips are kept, which ones its rule drops, and the rule."""

    field: str
    values: np.ndarray  # float or bool [n]
    kept: Bool[np.ndarray, " n"]
    here: Bool[np.ndarray, " n"]
    rule: bool | Sequence[float | int | None] | None


class Tile(NamedTuple):
    """A thumbnail with two lines of text below it."""

    id: str
    note: str
    picture: UInt8[np.ndarray, "h w 3"]


class Strip(NamedTuple):
    """A row of thumbnails, some of `count` clips."""

    heading: str
    count: int
    kept: bool
    tiles: Sequence[Tile]


def save_histograms(path: str | os.PathLike, panels: Sequence[Panel], *, title: str) -> None:
    """A PNG with one histogram a panel: kept, dropped by this rule, dropped by others; what is outside is shaded."""
    from matplotlib import rc_context
    from matplotlib.patches import Patch

    with rc_context(_STYLE):
        down = -(-len(panels) // _ACROSS)
        figure = _figure((3.1 * _ACROSS, 2.1 * down + 0.9), title)
        for axis, panel in zip(figure.subplots(down, _ACROSS, squeeze=False).ravel(), panels, strict=False):
            (_switch if panel.values.dtype == bool else _histogram)(axis, panel)
            dropped = int(panel.here.sum())
            axis.set_title(f"{panel.field}: drops {dropped:,}" if panel.rule is not None else f"{panel.field}: no rule")
            axis.set_xlabel(_printable(UNITS.get(panel.field, "")))
            axis.yaxis.get_major_locator().set_params(integer=True)
        for axis in figure.axes[len(panels) :]:
            axis.set_visible(False)
        for axis in figure.axes[::_ACROSS]:
            axis.set_ylabel("clips")
        names = {"kept": KEPT, "dropped by this rule": HERE, "dropped by another rule only": ELSEWHERE}
        keys = [Patch(color=colour, label=name) for name, colour in names.items()]
        keys.append(Patch(facecolor=HERE, alpha=0.12, label="what this rule drops"))
        figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
        _save(figure, path)


def _parts(panel: Panel) -> list[tuple[np.ndarray, str]]:
    """Which clips are drawn in which colour, from below."""
    return [(panel.kept, KEPT), (panel.here, HERE), (~panel.kept & ~panel.here, ELSEWHERE)]


def _histogram(axis, panel: Panel) -> None:
    finite = np.isfinite(panel.values)
    bounds = [bound for bound in panel.rule or () if bound is not None]
    floor = _DECADES.get(panel.field)
    values = np.maximum(panel.values, floor or -math.inf)
    reach = np.asarray([*values[finite], *bounds], float)
    least, largest = (reach.min(), reach.max()) if reach.size else (0.0, 1.0)
    if floor is not None:
        axis.set_xscale("log")
        edges = np.geomspace(max(floor, least) / 1.3, max(floor, largest) * 1.3, _BINS + 1)
    else:
        room = 0.03 * (largest - least) or 0.5  # all alike: one bar in the middle
        edges = np.linspace(least - room, largest + room, _BINS + 1)
    for bound in bounds:  # no bar is on both sides of it
        edges[1 + np.argmin(np.abs(edges[1:-1] - bound))] = bound
    base = np.zeros(_BINS)
    for part, colour in _parts(panel):
        counts = np.histogram(values[part & finite], edges)[0]
        axis.stairs(base + counts, edges, baseline=base, fill=True, color=colour)  # bars take seconds to draw
        base = base + counts
    axis.set_xlim(edges[0], edges[-1])
    for bound, outside in zip(panel.rule or (), (edges[0], edges[-1]), strict=False):
        if bound is not None:
            axis.axvspan(min(bound, outside), max(bound, outside), color=HERE, alpha=0.12, linewidth=0)
            axis.axvline(bound, color=HERE, linestyle="--", linewidth=1)
            place = axis.transAxes.inverted().transform(axis.transData.transform((bound, 0)))[0]
            side = "left" if place < 0.5 else "right"  # of the line there is room
            axis.text(bound, 0.97, f" {bound:g} ", transform=axis.get_xaxis_transform(), va="top", ha=side, color=HERE)


def _switch(axis, panel: Panel) -> None:
    """No and yes, a bar each."""
    base = np.zeros(2)
    for part, colour in _parts(panel):
        counts = np.bincount(panel.values[part].astype(int), minlength=2)
        axis.bar([0, 1], counts, 0.6, base, color=colour)
        base += counts
    axis.set_xticks([0, 1], ["no", "yes"])
    axis.set_xlim(-0.6, 1.6)
    if panel.rule is not None:
        axis.axvspan(*((-0.6, 0.5) if panel.rule else (0.5, 1.6)), color=HERE, alpha=0.12, linewidth=0)


def save_strips(path: str | os.PathLike, strips: Sequence[Strip], *, title: str) -> None:
    """A PNG with a heading and a row of thumbnails for each strip."""
    from matplotlib import rc_context

    across = max(4, *(len(strip.tiles) for strip in strips))
    with rc_context(_STYLE):
        figure = _figure((1.55 * across, 1.85 * len(strips) + 0.6), title)
        for part, strip in zip(figure.subfigures(len(strips), squeeze=False).ravel(), strips, strict=True):
            shown = "" if len(strip.tiles) == strip.count else f", {len(strip.tiles)} of them shown"
            noun = "clip" if strip.count == 1 else "clips"
            heading = f"{strip.heading}: {strip.count:,} {noun}{shown}"
            part.suptitle(heading, x=0.01, ha="left", fontsize=9.5, color=KEPT if strip.kept else HERE, weight="bold")
            for axis, tile in zip(part.subplots(1, across, squeeze=False).ravel(), strip.tiles, strict=False):
                axis.imshow(_framed(tile.picture))
                axis.set_xlabel(f"{short(tile.id)}\n{_printable(tile.note)}", fontsize=7, parse_math=False)
            for number, axis in enumerate(part.axes):
                axis.set(xticks=[], yticks=[], visible=number < len(strip.tiles), anchor="N")
                axis.spines[:].set_visible(False)
        _save(figure, path)


def _figure(size: tuple[float, float], title: str):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def _save(figure, path: str | os.PathLike) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks is drawn as boxes
        write_atomically(Path(path), lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _framed(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """In the middle of a grey field of 4 to 3, so that all thumbnails of a sheet are in line."""
    h, w = picture.shape[:2]
    rows, columns = max(0, round(w * 3 / 4) - h), max(0, round(h * 4 / 3) - w)
    room = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(picture, room, constant_values=232)


def short(name: str) -> str:
    """The end of a long name, where paths differ.  `videos/2019/holiday_0001.mp4 → …2019/holiday_0001.mp4`"""
    plain = _printable(name)
    return plain if len(plain) <= _MAX_ID else "…" + plain[1 - _MAX_ID :]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
