"""Intervals: as wide as other films would make them, and narrow for differences of what is judged on the same films."""

import numpy as np
import pytest

from videopoet_jax.evaluate.frechet import frechet_distance
from videopoet_jax.evaluate.resampling import difference, draw_films, estimate


def compare(real, made, films, *, resamples, seed):
    draws = draw_films(films, resamples=resamples, seed=seed)
    return estimate(lambda picked: frechet_distance(real[picked], made[picked]), clips=len(real), draws=draws)


def test_films_are_drawn_whole():
    draws = draw_films(["a", "a", "b", "a", "c"], resamples=50, seed=0)
    assert len(draws) == 50 and len({tuple(sorted(picked)) for picked in draws}) > 5
    for picked in draws:
        times = np.bincount(picked, minlength=5)
        assert times[0] == times[1] == times[3] and times[0] + times[2] + times[4] == 3
    assert draw_films(["a"] * 5, resamples=50, seed=0) == []


def test_a_difference_is_surer_than_what_differs():
    """Hard films are hard for both systems; the second is 0.1 better on each of them."""
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.normal(size=10), 4)
    films = [f"{i // 4}" for i in range(40)]
    draws = draw_films(films, resamples=200, seed=0)
    scores = hard, hard + 0.1 + 0.01 * rng.normal(size=40)
    one, other = (estimate(lambda p, s=s: s[p].mean(), clips=40, draws=draws) for s in scores)
    more = difference(other, one)
    assert one.low < one.value < one.high and one.high - one.low > 0.3
    assert more.value == pytest.approx(other.value - one.value)
    assert 0.08 < more.low < 0.1 + 0.01 and more.high - more.low < 0.03


def test_the_interval_is_as_wide_as_other_clips_make_it():
    """60 draws of 80 clips and their noisy copies: the interval of one draw holds about 95 % of the other figures."""
    rng = np.random.default_rng(0)

    def draw():
        real = rng.normal(size=(80, 6))
        return real, 1.1 * real + 0.3 + 0.3 * rng.normal(size=real.shape)

    others = np.array([frechet_distance(*draw()) for _ in range(60)])
    held, widths = [], []
    for _ in range(8):
        found = compare(*draw(), list(map(str, range(80))), resamples=100, seed=0)
        assert 0 <= found.low < found.value < found.high
        held.append(np.mean((others > found.low) & (others < found.high)))
        widths.append(found.high - found.low)
    # Two independent draws differ by √2 of what one varies, so less than 95 % are held.
    assert 0.6 < np.mean(held) <= 1
    assert 0.6 < np.mean(widths) / (4 * others.std()) < 1.6


def test_clips_of_one_film_are_not_so_many_witnesses():
    """80 clips of 8 films, whose copies are off by film: the interval of films is the honest, wider one."""
    rng = np.random.default_rng(0)
    film = np.repeat(np.arange(8), 10)
    real = rng.normal(size=(8, 3))[film] + 0.1 * rng.normal(size=(80, 3))
    made = real + rng.normal(size=(8, 3))[film]
    by_film, by_clip = (
        compare(real, made, list(map(str, names)), resamples=100, seed=0) for names in (film, range(80))
    )
    assert by_film.value == by_clip.value
    assert by_film.high - by_film.low > 1.5 * (by_clip.high - by_clip.low)
    alone = compare(real, made, ["a"] * 80, resamples=100, seed=0)
    assert (alone.low, alone.high, alone.value) == (None, None, by_film.value)


def test_seeds_repeat():
    one, other = np.random.default_rng(0).normal(size=(2, 60, 12))
    films = [f"{i % 12}" for i in range(60)]
    found = [compare(one, other, films, resamples=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0].low == found[1].low != found[2].low and found[0].value == found[2].value
