"""What the tokenizer's loss weighs, and that following it helps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.video import losses
from videopoet_jax.video.tokenizer import build


def test_entropy_weight_anneals():
    weights = [float(losses.entropy_weight(jnp.array(s), 0.1, 3.0, 2000)) for s in (0, 1000, 2000, 9000)]
    assert_allclose(weights, [0.3, 0.2, 0.1, 0.1], rtol=1e-6)


def test_bright_pixels_weigh_more_and_black_ones_still_count():
    truth = jnp.full((1, 1, 2, 1, 3), -1.0).at[:, :, 0, :, 1].set(1.0)  # a green pixel above a black one
    at_bright = losses.reconstruction(truth.at[:, :, 0].add(0.1), truth, l2=1.0, l1=0.0, emphasis=5.0)
    at_black = losses.reconstruction(truth.at[:, :, 1].add(0.1), truth, l2=1.0, l1=0.0, emphasis=5.0)
    plain = losses.reconstruction(truth + 0.1, truth, l2=1.0, l1=0.0, emphasis=1.0)
    assert_allclose(at_bright, 5 * at_black, rtol=1e-5)
    assert_allclose(plain, 0.01, rtol=1e-5)
    assert at_black > 0


def test_psnr_in_decibels():
    truth = jnp.zeros((1, 1, 4, 4, 3))
    ones = jnp.ones((1, 1, 4, 4, 1))
    assert_allclose(losses.psnr(truth + 0.2, truth, ones), 20.0, rtol=1e-5)  # 0.1 of the range


def test_code_usage_counts_distinct_codes():
    assert float(losses.code_usage(jnp.array([5, 5, 9, 2]))) == 0.75


@pytest.fixture
def video():
    video = np.zeros((2, 5, 16, 16, 3), np.uint8)
    video[0, :, 4:10, 4:10, 0], video[1, :, 2:8, 8:14, 1] = 255, 200
    return video


@pytest.mark.parametrize("remat", [False, True])
def test_half_precision_stays_inside_the_network(tiny, get_config, video, remat):
    config = get_config("nano").loss
    config.dtype = "bfloat16"
    loss_fn = losses.make_loss(build(tiny.config(remat=remat)), config)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    batch = {"video": jnp.asarray(video)}
    (loss, aux), grads = jax.eval_shape(lambda p: grad_fn(p, losses.initial_extra(), batch, None), tiny.parameters())
    assert loss.dtype == jnp.float32 and all(g.dtype == jnp.float32 for g in jax.tree.leaves(grads))
    assert all(m.dtype == jnp.float32 and m.shape == () for m in aux.metrics.values())


def test_loss_falls_on_one_batch(tiny, get_config, video):
    loss_fn = losses.make_loss(build(tiny.CONFIG), get_config("nano").loss)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, opt_state, extra, batch):
        (_, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, extra, batch, None)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, aux.extra, aux.metrics

    params = tiny.parameters()
    opt_state, extra = optimizer.init(params), losses.initial_extra()
    history = []
    for _ in range(25):
        params, opt_state, extra, metrics = step(params, opt_state, extra, {"video": video})
        history.append({k: float(v) for k, v in metrics.items()})
    assert int(extra["step"]) == 25
    assert all(np.isfinite(list(m.values())).all() for m in history)
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]
    assert history[-1]["psnr"] > history[0]["psnr"] + 2
    assert history[0]["entropy_per_sample"] <= history[0]["entropy_of_mean"] <= 10 * np.log(2)
