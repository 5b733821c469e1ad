"""The Fréchet distance: what must hold for Gaussians, then equality with the formula by a root of the product."""

import numpy as np
import pytest
import scipy.linalg

from videopoet_jax.evaluate.frechet import compare, frechet_distance, real_floor


@pytest.fixture(scope="module")
def sets():
    """Correlated features: 90 and 70 clips in 12 dimensions."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(2, 12, 12))
    return rng.normal(size=(90, 12)) @ mix[0] + 1, rng.normal(size=(70, 12)) @ mix[1]


def by_sqrtm(one, other):
    covariances = [np.cov(s, rowvar=False) for s in (one, other)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    means = one.mean(0) - other.mean(0)
    return means @ means + np.trace(covariances[0] + covariances[1] - 2 * root.real)


def test_equal_to_the_formula(sets):
    one, other = sets
    assert frechet_distance(one, other) == pytest.approx(by_sqrtm(one, other), rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(by_sqrtm(one, other), rel=1e-9)


def test_fewer_clips_than_dimensions(sets):
    """The product is singular; a little of the identity makes the formula's root well behaved."""
    one, other = (s[:8] for s in sets)
    covariances = [np.cov(s, rowvar=False) + 1e-9 * np.eye(12) for s in (one, other)]
    means = one.mean(0) - other.mean(0)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    wanted = means @ means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-3)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9 * np.sum(one**2))


def test_what_it_must_be_for_sets_whose_distance_is_known(sets):
    one, _ = sets
    shift = np.arange(12.0)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, one + shift) == pytest.approx(shift @ shift, rel=1e-9)
    # Twice as wide around its mean: Σ₂ = 4 Σ₁, so Tr(Σ₁ + 4 Σ₁ − 2·2 Σ₁) is left.
    wide = one.mean(0) + 2 * (one - one.mean(0))
    assert frechet_distance(one, wide) == pytest.approx(np.trace(np.cov(one, rowvar=False)), rel=1e-9)
    rotation = scipy.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    assert frechet_distance(one @ rotation, wide @ rotation) == pytest.approx(frechet_distance(one, wide), rel=1e-9)
    far = 1e6 + one  # features far from the origin lose no digits
    assert frechet_distance(far, far + shift) == pytest.approx(shift @ shift, rel=1e-6)


def test_the_floor_falls_with_more_clips():
    clips = np.random.default_rng(0).normal(size=(400, 10))
    few, many = (real_floor(clips[:n], splits=5, seed=0) for n in (40, 400))
    assert 0 < many < few / 4


def test_the_interval_is_as_wide_as_other_clips_make_it():
    """60 draws of 80 clips and their noisy copies: the interval of one draw holds about 95 % of the other figures."""
    rng = np.random.default_rng(0)

    def draw():
        real = rng.normal(size=(80, 6))
        return real, 1.1 * real + 0.3 + 0.3 * rng.normal(size=real.shape)

    others = np.array([frechet_distance(*draw()) for _ in range(60)])
    held, widths = [], []
    for _ in range(8):
        found = compare(*draw(), list(map(str, range(80))), floor=0.0, resamples=100, seed=0)
        assert 0 <= found.low < found.distance < found.high and found.clips == 80
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
        compare(real, made, list(map(str, names)), floor=0.0, resamples=100, seed=0) for names in (film, range(80))
    )
    assert by_film.distance == by_clip.distance
    assert by_film.high - by_film.low > 1.5 * (by_clip.high - by_clip.low)
    alone = compare(real, made, ["a"] * 80, floor=0.0, resamples=100, seed=0)
    assert (alone.low, alone.high, alone.distance) == (None, None, by_film.distance)


def test_seeds_repeat(sets):
    one, other = sets[0][:60], sets[1][:60]
    films = [f"{i % 12}" for i in range(60)]
    found = [compare(one, other, films, floor=1.0, resamples=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] and found[0].low != found[2].low and found[0].distance == found[2].distance


def test_clear_errors(sets):
    one, other = sets
    with pytest.raises(ValueError, match="1 clips: a covariance needs 2"):
        frechet_distance(one[:1], other)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(one * np.nan, other)
    with pytest.raises(ValueError, match="90 and 70 clips: copies and originals come in pairs"):
        compare(one, other, ["a"] * 90, floor=0.0, resamples=2, seed=0)
    with pytest.raises(ValueError, match="3 clips: halves for a floor need 4"):
        real_floor(one[:3], splits=2, seed=0)
