"""What the tokenizer's loss weighs, and that following it helps."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.video import losses
from videopoet_jax.video.model import build


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
    assert float(losses.code_usage(jnp.array([5, 5, 9, 2]), 2**18)) == 0.75
    assert float(losses.code_usage(jnp.array([[0, 1], [1, 0]]), 2)) == 1.0  # a table that is used up


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


ADVERSARY = {
    "weight": 0.1, "start": 2, "kind": "non-saturating", "width": 4, "multipliers": (2, 2), "r1": 10.0, "r1_every": 2,
    "lecam": 0.001, "lecam_decay": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def discriminator():
    """Jitted: the discriminator's loss and gradients on fixed clips; its parameters."""
    real, fake = (0.3 * jax.random.normal(jax.random.key(i), (2, 5, 16, 16, 3)) for i in range(2))
    params = nn.meta.unbox(losses.discriminator(ADVERSARY).init(jax.random.key(2), real))["params"]
    loss_fn = losses.make_adversary_loss(ADVERSARY)
    grad_fn, outputs = jax.value_and_grad(loss_fn, has_aux=True), {"real": real, "fake": fake}
    run = jax.jit(lambda p, extra: grad_fn(p, extra, outputs, None))
    return run, params, real, fake


def test_the_discriminators_loss_is_the_sum_of_its_terms(discriminator):
    run, params, real, fake = discriminator
    extra = losses.initial_adversary_extra()
    for step in range(2):
        (loss, aux), _ = run(params, extra)
        m, extra = aux.metrics, aux.extra
        assert int(extra["step"]) == step + 1
        assert_allclose(loss, m["classification"] + 10 * m["r1"] + 0.001 * m["lecam"], rtol=1e-6)
        assert (float(m["r1"]) > 0) is (step % 2 == 0)  # lazily: every second step
    logits = [losses.discriminator(ADVERSARY).apply({"params": params}, x) for x in (real, fake)]
    expected = np.mean(np.log1p(np.exp(-logits[0]))) + np.mean(np.log1p(np.exp(logits[1])))
    assert_allclose(m["classification"], expected, rtol=1e-4)
    assert_allclose(extra["averages"]["real"], (1 - 0.9**2) * np.mean(logits[0]), rtol=1e-4)


def test_r1_reaches_the_parameters_through_two_derivatives(discriminator):
    run, params, real, _ = discriminator

    def penalty(params):
        def logit(x):
            return jnp.sum(losses.discriminator(ADVERSARY).apply({"params": params}, x))

        return jnp.sum(jax.grad(logit)(real) ** 2) / 2

    steps = [run(params, losses.initial_adversary_extra() | {"step": jnp.int32(step)})[1] for step in (0, 1)]
    expected = jax.jit(jax.grad(penalty))(params)
    for with_r1, without, slope in zip(*map(jax.tree.leaves, (*steps, expected)), strict=True):
        assert_allclose(with_r1 - without, 10 * slope, rtol=1e-3, atol=1e-4 * float(jnp.abs(slope).max()) + 1e-6)


def test_the_tokenizer_is_judged_from_the_start_of_its_adversary_on(tiny, get_config, video):
    params = nn.meta.unbox(losses.discriminator(ADVERSARY).init(jax.random.key(2), jnp.zeros(video.shape)))["params"]
    second = {losses.ADVERSARY: SimpleNamespace(params=params)}
    loss_fn = losses.make_loss(build(tiny.CONFIG), get_config("nano").loss, adversary=ADVERSARY)
    plain = losses.make_loss(build(tiny.CONFIG), get_config("nano").loss)

    @jax.jit
    def run(step):
        extra = {"step": step}
        loss, aux = loss_fn(tiny.parameters(), extra | second, {"video": video}, None)
        return loss, aux.metrics["adversarial"], aux.outputs, plain(tiny.parameters(), extra, {"video": video}, None)[0]

    for step in (1, 2):
        loss, adversarial, outputs, without = run(jnp.int32(step))
        assert_allclose(loss - without, 0.1 * adversarial, rtol=1e-4, atol=1e-5)
        assert (float(adversarial) > 0) is (step >= 2)
        assert outputs["real"].shape == outputs["fake"].shape == video.shape


def test_some_frames_are_looked_at_and_the_network_is_an_argument(tiny, get_config, video):
    def distance(params, a, b):
        assert a.shape == (4, 16, 16, 3)  # two of five frames of two clips
        return params["scale"] * jnp.mean((a - b) ** 2, axis=(1, 2, 3))

    perceptual = losses.Perceptual(distance, {"scale": jnp.float32(3.0)}, frames=2)
    weights = {**get_config("nano").loss, "perceptual": 0.5}
    loss_fn = losses.make_loss(build(tiny.CONFIG), weights, perceptual=perceptual)
    extra, batch = losses.initial_extra(perceptual), {"video": video}
    run = jax.jit(lambda extra, key: loss_fn(tiny.parameters(), extra, batch, lambda purpose: key))
    (loss, aux), (other, _) = (run(extra, jax.random.key(seed)) for seed in (0, 1))
    assert float(loss) != float(other)  # other frames
    (again, twice) = run(extra | {FROZEN: {"perceptual": {"scale": jnp.float32(6.0)}}}, jax.random.key(0))
    assert_allclose(twice.metrics["perceptual"], 2 * aux.metrics["perceptual"], rtol=1e-5)
    assert_allclose(again - loss, 0.5 * aux.metrics["perceptual"], rtol=1e-3)
