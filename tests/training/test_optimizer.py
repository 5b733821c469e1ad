"""Optimizers: clipping by global norm, decay of matrices only, mistakes named."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from videopoet_jax.training.optimizer import decayed, make_optimizer

NUMBERS = {"learning_rate": 0.1, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "clip_norm": None}
PARAMS = {"layers": {"kernel": jnp.ones((2, 3, 3)), "scale": jnp.ones((2, 3)), "bias": jnp.ones(3)}}


def test_gains_and_biases_are_not_decayed_even_when_scanned():
    assert decayed(PARAMS) == {"layers": {"kernel": True, "scale": False, "bias": False}}


def test_without_a_gradient_only_the_decayed_shrink():
    optimizer = make_optimizer(name="adamw", **{**NUMBERS, "weight_decay": 0.5})
    grads = optax.tree.zeros_like(PARAMS)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    after = optax.apply_updates(PARAMS, updates)["layers"]
    np.testing.assert_allclose(after["kernel"], 1 - 0.1 * 0.5)
    np.testing.assert_array_equal(after["scale"], 1)
    np.testing.assert_array_equal(after["bias"], 1)


def test_clipping_makes_two_large_gradients_of_one_direction_equal():
    optimizer = make_optimizer(name="adam", **{**NUMBERS, "clip_norm": 1.0, "eps": 1.0})
    params = {"w": jnp.zeros(4)}
    small, large = (
        optimizer.update({"w": jnp.full(4, scale)}, optimizer.init(params), params)[0]["w"] for scale in (1.0, 1e6)
    )
    np.testing.assert_allclose(small, large, rtol=1e-5)


def test_the_betas_are_the_ones_given():
    params, grads = {"w": jnp.zeros(())}, {"w": jnp.ones(())}
    optimizer = make_optimizer(name="adam", **{**NUMBERS, "b1": 0.0, "b2": 0.0})
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "sgd"}, "choose adam or adamw"), ({"name": "adam", "weight_decay": 0.1}, "choose adamw")],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**{**NUMBERS, **change})
