"""Sampling against NumPy brute force; a row's draw is its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.sampling import Sampling, draw, guide, keep_top_k, keep_top_p

LOGITS = jax.random.normal(jax.random.key(0), (6, 50)) * 2
KEYS = jax.random.split(jax.random.key(1), 6)
PLAIN = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=None)


@pytest.mark.parametrize("k", [1, 2, 17, 50, 99])
def test_top_k_against_numpy(k):
    kept = np.asarray(keep_top_k(LOGITS, k)) > -1e20
    for row, mask in zip(np.asarray(LOGITS), kept, strict=True):
        assert set(np.flatnonzero(mask)) == set(np.argsort(-row)[:k])


@pytest.mark.parametrize("p", [1e-9, 0.3, 0.6, 0.9, 1.0])
def test_top_p_against_numpy(p):
    kept = np.asarray(keep_top_p(LOGITS, p)) > -1e20
    for row, mask in zip(np.asarray(LOGITS, np.float64), kept, strict=True):
        probabilities = np.exp(row) / np.exp(row).sum()
        nucleus, total = [], 0.0
        for i in np.argsort(-probabilities):
            nucleus.append(i)
            total += probabilities[i]
            if total >= p:
                break
        if p < 1:
            assert set(np.flatnonzero(mask)) == set(nucleus)
        else:
            assert mask.sum() >= 49  # the last of all may be lost to rounding


def test_the_documented_examples():
    assert_array_equal(keep_top_k(jnp.array([[1.0, 3, 2, 0]]), 2) > -1e20, [[False, True, True, False]])
    assert_array_equal(keep_top_p(jnp.log(jnp.array([[0.5, 0.3, 0.2]])), 0.6) > -1e20, [[True, True, False]])


def test_draws_follow_the_probabilities():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    keys = jax.random.split(jax.random.key(3), 4000)
    drawn = np.asarray(draw(jnp.tile(logits, (4000, 1)), PLAIN, keys))
    assert_allclose(np.bincount(drawn, minlength=4) / 4000, [0.5, 0.3, 0.15, 0.05], atol=0.03)
    cold = np.asarray(draw(jnp.tile(logits, (4000, 1)), PLAIN.replace(temperature=0.5), keys))
    sharp = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    assert_allclose(np.bincount(cold, minlength=4) / 4000, sharp / sharp.sum(), atol=0.03)


def test_temperature_zero_and_top_one_are_the_best():
    best = np.argmax(np.asarray(LOGITS), axis=-1)
    assert_array_equal(draw(LOGITS, PLAIN.replace(temperature=0.0), KEYS), best)
    assert_array_equal(draw(LOGITS, PLAIN.replace(top_k=1), KEYS), best)
    assert_array_equal(draw(LOGITS, PLAIN.replace(top_p=1e-6), KEYS), best)


def test_a_row_is_its_own():
    together = draw(LOGITS, PLAIN, KEYS)
    others = LOGITS.at[1:].set(0.0)
    assert draw(others, PLAIN, KEYS.at[1:].set(jax.random.key(9)))[0] == together[0]
    assert_array_equal(draw(LOGITS[::-1], PLAIN, KEYS[::-1]), together[::-1])


def test_guidance():
    cond, uncond = LOGITS[:3], LOGITS[3:]
    assert_allclose(guide(LOGITS, 1.0), cond, atol=1e-5)
    assert_allclose(guide(LOGITS, 0.0), uncond)
    assert_allclose(guide(LOGITS, 3.0), uncond + 3 * (cond - uncond), rtol=1e-6)
    guided = draw(LOGITS, PLAIN.replace(guidance_scale=0.0, temperature=0.0), KEYS[:3])
    assert_array_equal(guided, np.argmax(np.asarray(uncond), axis=-1))


@pytest.mark.parametrize(
    "field, value", [("temperature", -1.0), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.5), ("guidance_scale", -2.0)]
)
def test_numbers_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} {value}: must be"):
        PLAIN.replace(**{field: value}).checked()
