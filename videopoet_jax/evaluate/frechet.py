"""Fréchet distance between two sets of features, and what real clips have from real clips.

    ‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)                                   features float [b d], all in float64

With Σ = AᵀA, A the centred features over √(b − 1), the eigenvalues of Σ₁ Σ₂ are the squared singular values of A₁ A₂ᵀ,
so the last trace is their sum: no root of a matrix, nothing to stabilise, exact with fewer clips than dimensions too.

The distance is biased: it grows as clips get fewer (in 400 dimensions, two halves of 200 clips of one distribution are
far apart). Compare only figures of equally many clips, and look at the floor; `resampling` says how sure it is.
"""

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "b d"]


def frechet_distance(one: Features, other: Float[np.ndarray, "b2 d"]) -> float:
    """Zero for equal sets; never below.

    Raises:
        ValueError: fewer than two clips in a set, or features that are not finite.
    """
    sets = [np.asarray(s, np.float64) for s in (one, other)]
    for s in sets:
        if len(s) < 2:
            raise ValueError(f"{len(s)} clips: a covariance needs 2; give more clips.")
        if not np.isfinite(s).all():
            raise ValueError("features that are not finite: no distance; look for a NaN in the pictures.")
    roots = [_root(s) for s in sets]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    means = sets[0].mean(axis=0) - sets[1].mean(axis=0)
    return max(0.0, float(means @ means + sum(np.sum(r * r) for r in roots) - 2 * overlap))


def _root(features: Features) -> np.ndarray:
    """R with RᵀR the covariance, of no more rows than needed."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centred if len(features) <= features.shape[1] else np.linalg.qr(centred, mode="r")


def real_floor(real: Features, *, splits: int, seed: int) -> float:
    """What real clips have from real clips: the mean distance between the two halves of random splits of one set.

    A half has half the clips, so this is above what two sets of all of them would have.

    Raises:
        ValueError: fewer than four clips.
    """
    if len(real) < 4:
        raise ValueError(f"{len(real)} clips: halves for a floor need 4; give more clips.")
    rng, half, found = np.random.default_rng(seed), len(real) // 2, []
    for _ in range(splits):
        order = rng.permutation(len(real))
        found.append(frechet_distance(real[order[:half]], real[order[half:]]))
    return float(np.mean(found))
