"""Schedules start at zero under a warm-up, peak at its end and end where told."""

import numpy as np
import pytest

from videopoet_jax.training.schedules import make_schedule


def rates(name, warmup_steps, steps=100):
    schedule = make_schedule(name=name, peak=2.0, steps=steps, warmup_steps=warmup_steps, end=0.5)
    return np.array([float(schedule(step)) for step in range(steps + 20)])


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
def test_it_warms_up_in_a_straight_line_peaks_and_ends_where_told(name):
    rate = rates(name, 10)
    np.testing.assert_allclose(rate[:11], np.linspace(0, 2, 11), rtol=1e-6)
    assert rate.max() == 2.0 and np.all(np.diff(rate[10:]) <= 0)
    np.testing.assert_allclose(rate[100:], 2.0 if name == "constant" else 0.5, rtol=1e-6)


def test_half_way_the_cosine_and_the_line_are_in_the_middle():
    for name in ("cosine", "linear"):
        np.testing.assert_allclose(rates(name, 10)[55], 1.25, rtol=1e-6)


def test_without_a_warm_up_the_first_step_has_the_peak():
    for name in ("constant", "cosine", "linear"):
        assert rates(name, 0)[0] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "step"}, "choose constant, cosine or linear"),
        ({"warmup_steps": 100}, "shorten the warm-up"),
        ({"warmup_steps": -1}, "must lie in"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_schedule(**{"name": "cosine", "peak": 1.0, "steps": 100, "warmup_steps": 10, "end": 0.0, **change})
