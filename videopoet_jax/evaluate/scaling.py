"""How loss falls with a model's size and the tokens it was trained on: laws that are fitted to trained models.

    L(N, D) = floor + a · N^-alpha + b · D^-beta          N parameters of the layers, D tokens      (`fit_law`)
    L(C)    = a · C^-alpha                                C operations, the best model for each      (`fit_power`)

The first is the form of Hoffmann et al. (2022, "Chinchilla"), fitted by least squares of relative errors: for each pair
of exponents the other three numbers solve a linear problem, so there are two left to search. The second is a straight
line on log-log paper, as [VP]'s Figure 8 is drawn. Five numbers out of nine models are easily too many: `refits` says
what becomes of them when a model is left out.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, nnls

LEAST = 6  # models that a law of five numbers needs
EXPONENTS = (0.02, 4.0)  # ours: beyond these a term is a constant, or gone after the least model
_GRID = np.geomspace(*EXPONENTS, 16)


class Trained(NamedTuple):
    """A trained model: parameters of its layers, tokens read, floating-point operations spent, loss in nats a token."""

    name: str
    size: float
    tokens: float
    flops: float
    loss: float


class Law(NamedTuple):
    """`floor + a · size^-alpha + b · tokens^-beta`"""

    floor: float
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, size: float | np.ndarray, tokens: float | np.ndarray) -> float | np.ndarray:
        """What it expects."""
        return self.floor + self.a * size**-self.alpha + self.b * tokens**-self.beta


class Power(NamedTuple):
    """`a · flops^-alpha`"""

    a: float
    alpha: float

    def loss(self, flops: float | np.ndarray) -> float | np.ndarray:
        """What it expects."""
        return self.a * flops**-self.alpha


def fit_law(models: Sequence[Trained]) -> Law:
    """The law that is nearest to the models' losses.

    Raises:
        ValueError: too few models, all of one size, or all on as many tokens: they say nothing of five numbers.
    """
    sizes, tokens, losses = (np.array([getattr(m, name) for m in models], float) for name in ("size", "tokens", "loss"))
    if len(models) < LEAST or len(set(sizes)) < 2 or len(set(tokens)) < 2:
        raise ValueError(
            f"{len(models)} models of {len(set(sizes))} sizes, on {len(set(tokens))} budgets of tokens: a law of five "
            f"numbers needs {LEAST} at least, of 2 sizes and 2 budgets; train more."
        )
    middle = [float(np.exp(np.mean(np.log(values)))) for values in (sizes, tokens)]  # so that no power is far from 1

    def linear(exponents: Sequence[float] | np.ndarray) -> tuple[np.ndarray, float]:
        """Floor, a and b, none below 0, for these exponents; and the error that is left."""
        powers = [(values / of) ** -e for values, of, e in zip((sizes, tokens), middle, exponents, strict=True)]
        return nnls(np.stack([np.ones_like(losses), *powers], axis=1) / losses[:, None], np.ones_like(losses))

    start = min(itertools.product(_GRID, _GRID), key=lambda exponents: linear(exponents)[1])
    limits = [tuple(np.log(EXPONENTS))] * 2
    tight = {"xatol": 1e-7, "fatol": 1e-14, "maxiter": 2_000}
    search = minimize(lambda x: linear(np.exp(x))[1], np.log(start), method="Nelder-Mead", bounds=limits, options=tight)
    alpha, beta = map(float, np.exp(search.x))
    floor, a, b = map(float, linear((alpha, beta))[0])
    return Law(floor, a * middle[0] ** alpha, alpha, b * middle[1] ** beta, beta)


def frontier(models: Sequence[Trained]) -> list[Trained]:
    """The models that no cheaper one is as good as, cheapest first."""
    kept: list[Trained] = []
    for model in sorted(models, key=lambda m: (m.flops, m.loss)):
        if not kept or model.loss < kept[-1].loss:
            kept.append(model)
    return kept


def fit_power(models: Sequence[Trained]) -> Power:
    """The straight line through log loss over log operations, of these models as they are.

    Raises:
        ValueError: fewer than two.
    """
    if len(models) < 2:
        raise ValueError(f"{len(models)} models: a line needs two at least; train more.")
    slope, height = np.polyfit(np.log([m.flops for m in models]), np.log([m.loss for m in models]), 1)
    return Power(float(np.exp(height)), float(-slope))


def refits(fit: Callable[[Sequence[Trained]], Law | Power], models: Sequence[Trained]) -> list:
    """The fit without each of the models in turn, as far as it is one without it."""
    found = []
    for left_out in range(len(models)):
        try:
            found.append(fit([m for i, m in enumerate(models) if i != left_out]))
        except ValueError:
            continue
    return found
