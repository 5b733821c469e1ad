"""Optimizers: clipping by global norm, decay of matrices only, factored moments, mistakes named."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from videopoet_jax.training.optimizer import MUON_RMS, decayed, make_optimizer, matrices

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


def test_muon_sees_matrices_by_name_and_leaves_the_rest_to_adam():
    shapes = {"table": (8, 4), "query": (5, 6, 2, 3), "out": (2, 3, 6), "up": (5, 6, 7), "kernel": (3, 3, 4, 8)}
    seen = matrices({name: jnp.zeros(shape) for name, shape in shapes.items()})
    assert seen.pop("table") is None
    assert {name: tuple(axes) for name, axes in seen.items()} == {
        "query": ((1,), (2, 3)),  # 5 layers, each 6 → 2·3
        "out": ((0, 1), (2,)),
        "up": ((1,), (2,)),
        "kernel": ((0, 1, 2), (3,)),
    }


def test_muon_turns_every_layer_of_a_scan_by_a_matrix_with_equal_singular_values():
    params = {"up": jnp.zeros((2, 16, 8)), "scale": jnp.ones((2, 16))}
    rng = np.random.default_rng(0)
    grads = {name: jnp.asarray(rng.normal(size=p.shape), jnp.float32) for name, p in params.items()}
    grads["up"] *= jnp.asarray([1.0, 1e-3])[:, None, None]  # however small a layer's gradient, it moves as far
    optimizer = make_optimizer(name="muon", **NUMBERS)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    step = NUMBERS["learning_rate"] * MUON_RMS * 4.0  # √max(16, 8)
    for layer, grad in zip(updates["up"], grads["up"], strict=True):
        u, _, v = np.linalg.svd(grad, full_matrices=False)
        singular = np.linalg.svd(layer, compute_uv=False) / step
        assert singular.min() > 0.6 and singular.max() < 1.3  # five Newton-Schulz steps are that exact
        assert np.sum(np.asarray(layer) * -(u @ v)) / step > 0.85 * 8  # along the nearest orthogonal matrix


LARGE = {"gate": jnp.ones((3, 128, 256)), "query": jnp.full((3, 256, 4, 128), 0.5), "scale": jnp.ones((3, 256))}


def numbers_in(state):
    return sum(leaf.size for leaf in jax.tree.leaves(state))


def test_adafactor_keeps_a_row_and_a_column_of_each_layers_matrix():
    optimizer = make_optimizer(name="adafactor", **{**NUMBERS, "b1": 0.0})
    state = jax.eval_shape(optimizer.init, LARGE)
    factored = next(s for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "v_row")) if hasattr(s, "v_row"))
    assert factored.v_row["gate"].shape == (3, 128) and factored.v_col["gate"].shape == (3, 256)
    assert {factored.v_row["query"].shape, factored.v_col["query"].shape} == {(3, 256, 4), (3, 4, 128)}
    assert factored.v["scale"].shape == (3, 256)  # whole: it is small
    adam = jax.eval_shape(make_optimizer(name="adam", **NUMBERS).init, LARGE)
    assert numbers_in(state) < numbers_in(adam) / 50
    with_momentum = jax.eval_shape(make_optimizer(name="adafactor", **NUMBERS).init, LARGE)
    assert numbers_in(with_momentum) - numbers_in(state) == numbers_in(LARGE) + 1  # and a count


def test_adafactor_steps_each_array_in_proportion_to_its_size():
    """Where gradients are a row times a column, their factored moments are exact: every update has the size 1."""
    optimizer = make_optimizer(name="adafactor", **{**NUMBERS, "b1": 0.0})
    rng = np.random.default_rng(0)
    rows, columns = (rng.normal(size=(3, n)).astype(np.float32) for n in (128, 256))
    grads = {"gate": jnp.einsum("la,lb->lab", rows, columns)}
    for size in (1.0, 4.0):
        params = {"gate": jnp.full((3, 128, 256), size)}
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        np.testing.assert_allclose(updates["gate"], -0.1 * size * np.sign(grads["gate"]), rtol=1e-3)


def test_adafactor_decays_as_adamw_does():
    optimizer = make_optimizer(name="adafactor", **{**NUMBERS, "weight_decay": 0.5})
    updates, _ = optimizer.update(optax.tree.zeros_like(PARAMS), optimizer.init(PARAMS), PARAMS)
    after = optax.apply_updates(PARAMS, updates)["layers"]
    np.testing.assert_allclose(after["kernel"], 1 - 0.1 * 0.5)
    np.testing.assert_array_equal(after["scale"], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "sgd"}, "choose adam, adamw, muon or adafactor"),
        ({"name": "adam", "weight_decay": 0.1}, "choose adamw"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**{**NUMBERS, **change})
