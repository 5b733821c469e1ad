"""Fits of points that a known law made recover it; and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videopoet_jax.evaluate.scaling import Law, Power, Trained, fit_law, fit_power, frontier, refits

SIZES, TOKENS = (0.25e6, 0.8e6, 2.5e6), (0.2e6, 0.6e6, 1.8e6)


def models_of(law, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Trained(f"{n} {d}", n, d, 6 * n * d, law.loss(n, d) * float(np.exp(noise * rng.normal())))
        for n in SIZES
        for d in TOKENS
    ]


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 3), st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.3, 2), st.floats(0.3, 2))
def test_nine_models_of_a_law_give_it_back(floor, alpha, beta, by_size, by_tokens):
    """`by_size`: what the smallest size costs, in nats; likewise `by_tokens`."""
    law = Law(floor, by_size * SIZES[0] ** alpha, alpha, by_tokens * TOKENS[0] ** beta, beta)
    found = fit_law(models_of(law))
    assert [found.alpha, found.beta, found.floor] == pytest.approx([alpha, beta, floor], rel=1e-2)
    further = law.loss(4 * SIZES[-1], 4 * TOKENS[-1]), found.loss(4 * SIZES[-1], 4 * TOKENS[-1])
    assert further[1] == pytest.approx(further[0], rel=1e-3)


def test_noise_moves_it_little_where_it_was_measured():
    law = Law(1.0, 1.5 * SIZES[0] ** 0.4, 0.4, 1.5 * TOKENS[0] ** 0.5, 0.5)
    models = models_of(law, noise=5e-3)
    found = fit_law(models)
    off = [found.loss(m.size, m.tokens) / law.loss(m.size, m.tokens) - 1 for m in models]
    assert np.abs(off).max() < 0.01 and min(found) >= 0


def test_a_power_of_operations_is_a_line():
    power = Power(30.0, 0.12)
    models = [Trained("", 1.0, 1.0, c, power.loss(c)) for c in (1e12, 3e12, 8e12, 5e13)]
    assert fit_power(models) == pytest.approx(power)
    with pytest.raises(ValueError, match="1 models: .* train more"):
        fit_power(models[:1])


def test_the_best_are_those_that_no_cheaper_one_is_as_good_as():
    models = [Trained(name, 1.0, 1.0, c, loss) for name, c, loss in [("a", 1, 5.0), ("b", 2, 6.0), ("c", 3, 4.0),
                                                                   ("d", 3, 3.0), ("e", 9, 3.0)]]  # fmt: skip
    assert [m.name for m in frontier(models[::-1])] == ["a", "d"]


def test_too_few_models_are_refused_and_refits_leave_one_out():
    law = Law(1.0, 1.5 * SIZES[0] ** 0.4, 0.4, 1.5 * TOKENS[0] ** 0.5, 0.5)
    models = models_of(law)
    for some in (models[:5], models[:3] * 2):  # five of them; six, all of one size
        with pytest.raises(ValueError, match="a law of five numbers needs 6 at least"):
            fit_law(some)
    found = refits(fit_law, models)
    assert len(found) == 9 and max(abs(f.alpha - 0.4) for f in found) < 0.01
    assert refits(fit_law, models[:6]) == []
