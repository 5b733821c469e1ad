"""Adversarial losses against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.layers import gan


def logits(seed: int, *shape: int) -> jax.Array:
    return 2 * jax.random.normal(jax.random.key(seed), shape)


def log_sigmoid(x):
    return -np.log1p(np.exp(-np.asarray(x, np.float64)))


def test_discriminator_and_generator_losses_are_their_definitions():
    real, fake = logits(0, 4, 3), logits(1, 5)
    a, b = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    hinge = np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean()
    assert_allclose(gan.discriminator_loss(real, fake, "hinge"), hinge, rtol=1e-6)
    saturating = -log_sigmoid(a).mean() - log_sigmoid(-b).mean()
    assert_allclose(gan.discriminator_loss(real, fake, "non-saturating"), saturating, rtol=1e-6)
    assert_allclose(gan.generator_loss(fake, "hinge"), -b.mean(), rtol=1e-5)
    assert_allclose(gan.generator_loss(fake, "clipped-hinge"), np.maximum(0, 1 - b).mean(), rtol=1e-6)
    assert_allclose(gan.generator_loss(fake, "non-saturating"), -log_sigmoid(b).mean(), rtol=1e-6)


@pytest.mark.parametrize("kind", gan.KINDS)
def test_the_two_players_pull_a_judged_output_apart(kind):
    fake = jnp.array([-0.3])
    assert jax.grad(lambda x: gan.discriminator_loss(jnp.zeros(1), x, kind))(fake)[0] > 0  # the adversary lowers it
    assert jax.grad(lambda x: gan.generator_loss(x, kind))(fake)[0] < 0  # the model raises it


def test_extreme_logits_stay_finite():
    far = jnp.array([-1e4, 1e4])
    for kind in gan.KINDS:
        assert np.isfinite(gan.discriminator_loss(far, far, kind)) and np.isfinite(gan.generator_loss(far, kind))


def test_an_unknown_kind_is_refused():
    for call in (
        lambda: gan.discriminator_loss(jnp.zeros(1), jnp.zeros(1), "wgan"),
        lambda: gan.generator_loss(jnp.zeros(1), "wgan"),
    ):
        with pytest.raises(ValueError, match="'wgan': unknown; use one of hinge"):
            call()


def test_r1_is_the_mean_squared_slope_at_the_truth():
    weights, x = logits(0, 6), logits(1, 3, 2, 3)

    def judge(x):  # per example: w·tanh(x), whose slope is known
        return jnp.sum(weights.reshape(2, 3) * jnp.tanh(x), axis=(1, 2))

    slope = np.asarray(weights).reshape(2, 3) * (1 - np.tanh(np.asarray(x)) ** 2)
    assert_allclose(gan.r1(judge, x), (slope**2).sum(axis=(1, 2)).mean(), rtol=1e-5)


def test_lecam_holds_an_adversary_to_its_averages():
    averages = gan.no_averages()
    for _ in range(2000):
        averages = gan.follow(averages, jnp.array([3.0, 1.0]), jnp.array([-1.0]), 0.99)
    assert_allclose(averages.real, 2.0, rtol=1e-4)
    assert_allclose(averages.fake, -1.0, rtol=1e-4)
    assert float(gan.lecam(jnp.array([-2.0]), jnp.array([3.0]), averages)) == 0  # not sure of itself: left alone
    assert_allclose(gan.lecam(jnp.array([2.0, 0.0]), jnp.array([-1.0]), averages), (9 + 1) / 2 + 9, rtol=1e-4)


def test_averages_pass_no_gradient():
    def total(x):
        averages = gan.follow(gan.no_averages(), x, x, 0.5)
        return averages.real + averages.fake

    assert float(jax.grad(total)(jnp.ones(()))) == 0


def test_feature_matching_pulls_only_the_output():
    real, fake = [logits(0, 2, 3), logits(1, 4)], [logits(2, 2, 3), logits(3, 4)]
    expected = np.mean([np.abs(np.asarray(a) - np.asarray(b)).mean() for a, b in zip(real, fake, strict=True)])
    assert_allclose(gan.feature_matching(real, fake), expected, rtol=1e-6)
    pull_real, pull_fake = jax.grad(gan.feature_matching, argnums=(0, 1))(real, fake)
    assert all(float(jnp.abs(x).max()) == 0 for x in pull_real)
    assert all(float(jnp.abs(x).min()) > 0 for x in pull_fake)
