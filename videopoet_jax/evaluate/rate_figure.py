"""The picture of a rate–distortion comparison: one panel a figure, codecs as curves, tokenizers as points."""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videopoet_jax.evaluate.rate_distortion import COST, QUALITY, Point, Points, mean_curve
from videopoet_jax.pretrained.files import write_atomically

_CODECS = ("#0072b2", "#56b4e9", "#d55e00", "#666666")  # Okabe and Ito 2008: told apart by the colour-blind too
_TOKENIZERS = ("#009e73", "#cc79a7", "#e69f00", "#000000")
_MARKERS = ("*", "D", "s", "^")  # another one after every round of colours
_ACROSS = 3
_STYLE = {"font.size": 8, "axes.titlesize": 8.5, "axes.spines.top": False, "axes.spines.right": False}


def save_rate_figure(
    path: str | os.PathLike,
    codecs: Mapping[str, Sequence[Points]],
    tokenizers: Mapping[str, Sequence[Point]],
    *,
    title: str,
    labels: Mapping[str, str],
) -> None:
    """A PNG of all figures against bits a pixel; the last panel has the milliseconds a frame.

    A curve is the mean over clips at equal rates, drawn where every clip has the codec; a tokenizer's point is the mean
    over clips, and a dotted line at its rate leads to what codecs show there.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = next(iter(tokenizers.values()))[0].figures
    panels = [name for name in QUALITY if name in figures]
    with rc_context(_STYLE):
        down = -(-(len(panels) + 1) // _ACROSS)
        figure = Figure(figsize=(7.2, 2.3 * down + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        axes = figure.subplots(down, _ACROSS, squeeze=False).ravel()
        for axis, name in zip(axes, panels, strict=False):
            _draw(axis, name, codecs, tokenizers)
            axis.set_title(labels[name] + ("" if QUALITY[name].rising else " (lower is better)"))
        time = axes[len(panels)]
        keys = []
        for name, label, line in (("encode_ms", "encode", "-"), ("decode_ms", "decode", "--")):
            _draw(time, name, codecs, tokenizers, line)
            face = "white" if name == "decode_ms" else "black"
            keys += time.plot([], [], line, marker="o", markersize=4, markerfacecolor=face, color="black", label=label)
        time.set_yscale("log")
        time.set_title("milliseconds per frame")
        time.legend(handles=keys, frameon=False, fontsize=7)
        for number, axis in enumerate(axes):
            axis.set_visible(number <= len(panels))
            axis.set_xscale("log", base=2)
            axis.grid(alpha=0.25, linewidth=0.5)
            axis.xaxis.set_major_formatter(lambda x, _: f"{x:.2g}")
            axis.tick_params(length=2, labelsize=7)
            axis.margins(y=0.1)
            if number + _ACROSS > len(panels):
                axis.set_xlabel("bits per pixel")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        write_atomically(Path(path), lambda temporary: figure.savefig(temporary, format="png", dpi=200))


def _draw(axis, name: str, codecs: Mapping, tokenizers: Mapping, line: str = "-") -> None:
    second = name == "decode_ms"  # of two figures in one panel
    for colour, (label, clips) in zip(itertools.cycle(_CODECS), codecs.items(), strict=False):
        rates, values = mean_curve(clips, name)
        axis.plot(rates, values, line, color=colour, label=label, linewidth=1.4)
    looks = itertools.cycle(itertools.product(_MARKERS, _TOKENIZERS))
    for (shape, colour), (label, points) in zip(looks, tokenizers.items(), strict=False):
        rate = np.mean([p.rate for p in points])
        value = np.mean([p.figures[name] for p in points])
        axis.axvline(rate, color=colour, linestyle=":", linewidth=0.8)
        face = "white" if second else colour
        size = (9 if shape == "*" else 5) - 2 * (name in COST)
        axis.plot(rate, value, shape, color=colour, markerfacecolor=face, label=label, markersize=size, clip_on=False)
