"""The picture of a scaling law: loss over operations, a line a size; and what the models do, likewise."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videopoet_jax.evaluate.scaling import Law, Power, Trained
from videopoet_jax.pretrained.files import write_atomically

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008
_STYLE = {"font.size": 8, "axes.titlesize": 8.5, "axes.spines.top": False, "axes.spines.right": False}
# model → share that is right, and its interval
Scores = Mapping[str, tuple[float, float, float]]


def save_scaling_figure(
    path: str | os.PathLike,
    models: Sequence[Trained],
    law: Law | None,
    power: Power,
    *,
    title: str,
    scores: Mapping[str, Scores] | None = None,
) -> None:
    """A PNG: losses as points, the law as a curve for each size, the power of the best as a dashed line; a panel for
    each of `scores`, by its title."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list((scores or {}).items())
    sizes = sorted({model.size for model in models})
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.6 * (1 + len(panels)), 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
        for number, size in enumerate(sizes):
            own = sorted((m for m in models if m.size == size), key=lambda m: m.tokens)
            colour = _COLOURS[number % len(_COLOURS)]
            flops = [m.flops for m in own]
            axes[0].plot(flops, [m.loss for m in own], "o", color=colour, markersize=5, label=f"{size / 1e6:.2f} M")
            if law:
                tokens = np.geomspace(own[0].tokens, own[-1].tokens, 50)
                spent = own[-1].flops / own[-1].tokens * tokens
                axes[0].plot(spent, law.loss(size, tokens), color=colour, linewidth=1.2)
            for axis, (_, shares) in zip(axes[1:], panels, strict=True):
                known = [m for m in own if m.name in shares]
                middle, low, high = np.array([shares[m.name] for m in known]).reshape(-1, 3).T
                spread = np.maximum(0, [middle - low, high - middle])
                axis.errorbar([m.flops for m in known], middle, spread, fmt="o-", color=colour, markersize=5, capsize=2)
        every = np.array([min(m.flops for m in models), max(m.flops for m in models)])
        axes[0].plot(every, power.loss(every), "--", color="#666666", linewidth=1, label="a power of the best")
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_formatter(lambda y, _: f"{y:.2g}")
        axes[0].yaxis.set_minor_formatter(lambda y, _: f"{y:.2g}")
        axes[0].set_title(title)
        axes[0].legend(frameon=False, fontsize=7)
        for axis, (name, _) in zip(axes[1:], panels, strict=True):
            axis.set_title(name)
            axis.set_ylim(-0.03, 1.03)
        for axis in axes:
            axis.set_xscale("log")
            axis.set_xlabel("floating-point operations of training")
            axis.grid(alpha=0.25, linewidth=0.5, which="both")
            axis.tick_params(length=2, labelsize=7, which="both")
        write_atomically(Path(path), lambda temporary: figure.savefig(temporary, format="png", dpi=110))
