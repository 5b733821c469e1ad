"""The Fréchet distance: what must hold for Gaussians, then equality with the formula by a root of the product."""

import numpy as np
import pytest
import scipy.linalg

from videopoet_jax.evaluate.frechet import frechet_distance, real_floor


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


def test_clear_errors(sets):
    one, other = sets
    with pytest.raises(ValueError, match="1 clips: a covariance needs 2"):
        frechet_distance(one[:1], other)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(one * np.nan, other)
    with pytest.raises(ValueError, match="3 clips: halves for a floor need 4"):
        real_floor(one[:3], splits=2, seed=0)
