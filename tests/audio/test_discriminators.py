"""The discriminators against hand counts, NumPy and naive loops; what they hear, and the loss's terms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.audio import losses, spectra
from videopoet_jax.audio.discriminators import DiscriminatorOutput, Discriminators, halved
from videopoet_jax.layers.conv import causal_conv1d
from videopoet_jax.layers.grouped import direct, grouped_conv1d, products
from videopoet_jax.layers.objective import ADVERSARY

NARROW = {
    "scales": 3,
    "waveform_widths": (4, 8, 16),
    "waveform_kernels": (5, 9, 3, 3),
    "waveform_stride": 4,
    "waveform_group": 4,
    "stft_window": 64,
    "stft_kernel": 3,
    "stft_widths": (2, 4, 4),
    "stft_strides": ((1, 2), (2, 2)),
}


def init(model: Discriminators) -> dict:
    """Parameters of the right shapes, drawn by NumPy: initializers take longer to compile than nets."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    shapes = jax.eval_shape(lambda: nn.meta.unbox(model.init(key, jnp.zeros((1, 64))))["params"])
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(scale=0.3, size=p.shape), jnp.float32), shapes)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameters_and_lengths_are_those_of_the_description(get_config):
    config = get_config("soundstream")
    model = Discriminators(**config.adversary.model)
    tree = jax.eval_shape(lambda: nn.meta.unbox(losses.init_adversary(config, jax.random.key(0))))
    widths = (16, 64, 256, 1024, 1024)
    waveform = 15 * 16 + sum(41 * 4 * d for d in widths[1:]) + 5 * 1024**2 + 3 * 1024 + sum(widths) + 1024 + 1
    widths = (32, 64, 128, 128, 256, 256, 512)
    stft = 7 * 7 * 2 * 32 + 32 + 512 * 8 + 1  # first, and last over the 8 frequencies that are left
    for c, d, time in zip(widths, widths[1:], (1, 2, 1, 2, 1, 2), strict=False):
        stft += (3 * 3 * c * c + c) + ((time + 2) * 4 * c * d + d) + (c * d + d)
    assert [count(tree[f"waveform{i}"]) for i in range(3)] == [waveform] * 3 == [5_637_953] * 3
    assert count(tree["stft"]) == stft == 5_547_585
    sound = jax.ShapeDtypeStruct((2, 16_000), jnp.float32)
    nets = jax.eval_shape(lambda params, x: model.apply({"params": params}, x), tree, sound)
    assert [net.logits.shape for net in nets] == [(2, 62), (2, 31), (2, 15), (2, 9)]
    assert [len(net.features) for net in nets] == [6, 6, 6, 7]


@pytest.mark.parametrize("samples", [8, 9])
def test_halving_is_the_mean_of_four(samples):
    x = np.arange(1.0, samples + 1)
    padded = np.pad(x, (1, 1 + samples % 2))
    means = [padded[i : i + 4].mean() for i in range(0, len(padded) - 3, 2)]
    assert_allclose(halved(jnp.asarray(x)[None])[0], means)
    assert len(means) == (samples + 1) // 2


@pytest.mark.parametrize("stride,groups", [(4, 2), (1, 4)])
def test_a_grouped_convolution_is_a_convolution_of_each_group(stride, groups):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 24, 8)).astype(np.float32), rng.normal(size=(5, 8 // groups, 12)).astype(np.float32)
    parts = zip(np.split(x, groups, axis=2), np.split(kernel, groups, axis=2), strict=True)
    naive = np.concatenate([causal_conv1d(jnp.asarray(a), jnp.asarray(k), stride=stride) for a, k in parts], axis=2)
    assert_allclose(causal_conv1d(jnp.asarray(x), jnp.asarray(kernel), stride=stride, groups=groups), naive, atol=1e-5)


def test_the_grouped_gradient_is_that_of_the_plain_form():
    x, kernel = jax.random.normal(jax.random.key(0), (2, 30, 8)), jax.random.normal(jax.random.key(1), (7, 2, 12))
    assert_allclose(products(x, kernel, 4, 4), direct(x, kernel, 4, 4), atol=1e-5)
    forms = grouped_conv1d, direct
    grads = [jax.jit(jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k, 4, 4))), (0, 1))) for f in forms]
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-4), grads[0](x, kernel), grads[1](x, kernel))


def test_stft_is_numpys():
    x = np.random.default_rng(0).normal(size=(2, 300)).astype(np.float32)
    got = np.asarray(spectra.stft(jnp.asarray(x), 64))
    window = np.hanning(65)[:-1]
    padded = np.pad(x.astype(np.float64), ((0, 0), (48, 64)))
    for frame in range(got.shape[1]):
        wanted = np.fft.rfft(padded[:, frame * 16 : frame * 16 + 64] * window)[:, :32] / np.sqrt((window**2).sum())
        assert_allclose(got[:, frame, :, 0] + 1j * got[:, frame, :, 1], wanted, atol=1e-5)
    noise = spectra.stft(jax.random.normal(jax.random.key(0), (1, 40_000)), 64)
    assert float(jnp.mean(jnp.sum(noise[:, 8:-8, 1:] ** 2, axis=-1))) == pytest.approx(1, abs=0.05)


def test_every_net_hears_the_sound_and_learns():
    model = Discriminators(**NARROW)
    params, sound = init(model), jax.random.normal(jax.random.key(1), (1, 320))

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def pull(params, sound, weights):
        said = jnp.stack([jnp.sum(jnp.sin(net.logits)) for net in model.apply({"params": params}, sound)])
        return jnp.sum(weights * said)

    for i, name in enumerate(["waveform0", "waveform1", "waveform2", "stft"]):
        by_params, by_sound = pull(params, sound, jnp.eye(4)[i])
        assert all(np.any(leaf) for leaf in jax.tree.leaves(by_params[name]))
        others = [leaf for other in by_params if other != name for leaf in jax.tree.leaves(by_params[other])]
        assert not any(map(np.any, others))
        assert (np.abs(by_sound) > 0).mean() > 0.9


def test_adversarial_terms_on_literal_logits():
    def nets(*values):
        return [
            DiscriminatorOutput(jnp.array([v]), (jnp.array([[1.0, 2.0]]) * v[0], jnp.array([[3.0]]))) for v in values
        ]

    fake, real = nets([0.5, 2.0], [-1.0, -1.0]), nets([1.5, 2.0], [0.0, 2.0])
    assert float(losses.adversarial_loss(fake)) == pytest.approx(((0.5 + 0) / 2 + 2) / 2)
    # features differ by 1 · (1, 2) in both nets' first layer, not at all in the second
    assert float(losses.feature_loss(real, fake)) == pytest.approx((1.5 / 2 + 1.5 / 2) / 2)


@pytest.fixture
def config(fields) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict({"model": fields, "adversary": {"model": NARROW}})
    c.adversary.weight, c.adversary.feature_weight, c.adversary.start = 1.0, 100.0, 0
    c.loss = ml_collections.ConfigDict(
        {"windows": (64,), "mel_bins": 16, "log_floor": 1e-2, "spectral_weight": 1.0, "waveform_weight": 0.0,
         "commitment_weight": 1.0, "bypass_share": 0.0}
    )  # fmt: skip
    return c


class Trained:
    """What the loss needs of the adversary's state."""

    def __init__(self, params):
        self.params = params


def keys(name: str) -> jax.Array:
    return jax.random.key(len(name))


def test_the_adversarys_loss_is_the_hinge_of_both_sides(config):
    params = init(Discriminators(**NARROW))
    real, fake = (jax.random.normal(jax.random.key(i), (2, 320)) for i in (0, 1))
    loss_fn, model = losses.make_adversary_loss(config), Discriminators(**NARROW)
    loss, aux = jax.jit(lambda params, shown: loss_fn(params, {}, shown, keys))(params, {"real": real, "fake": fake})
    judge = jax.jit(lambda x: [net.logits for net in model.apply({"params": params}, x)])
    sides = [[np.asarray(logits) for logits in judge(x)] for x in (real, fake)]
    wanted = [np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean() for a, b in zip(*sides, strict=True)]
    assert float(loss) == pytest.approx(np.mean(wanted), rel=1e-5)
    assert float(aux.metrics["real"]) == pytest.approx(np.mean([a.mean() for a in sides[0]]), abs=1e-6)


def test_the_model_hears_its_adversary_from_the_start_on(config, variables):
    config.adversary.start = 5
    params = init(Discriminators(**NARROW))
    batch = {"audio": 0.3 * jax.random.normal(jax.random.key(0), (2, 320))}

    def grade(loss_fn):
        def run(step, params):
            extra = {"codebooks": variables["codebooks"], "step": step, ADVERSARY: Trained(params)}
            (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"], extra, batch, keys)
            aux.extra.pop(ADVERSARY)
            return loss, aux, grads["decoder"]["first"]["kernel"]

        return jax.jit(run)

    with_adversary = grade(losses.make_loss(config))
    config.adversary.weight = 0.0
    loss_of_plain, plain, slope_of_plain = grade(losses.make_loss(config))(0, params)
    assert plain.outputs is None and "features" not in plain.metrics
    for step, heard in ((4, False), (5, True)):
        loss, aux, slope = with_adversary(step, params)
        added = float(aux.metrics["adversarial"] + 100 * aux.metrics["features"])
        assert (added > 0) is heard and int(aux.extra["step"]) == step + 1
        assert float(loss) == pytest.approx(float(loss_of_plain) + added, rel=1e-5)
        assert np.allclose(slope, slope_of_plain, rtol=1e-4, atol=1e-6) is not heard
        np.testing.assert_array_equal(aux.outputs["real"], batch["audio"])
        assert aux.outputs["fake"].shape == (2, 320)


def test_silence_is_finite(config, variables):
    """Silence to hear, and two silences to tell apart."""
    params = init(Discriminators(**NARROW))
    extra = {"codebooks": variables["codebooks"], "step": jnp.asarray(0), ADVERSARY: Trained(params)}
    sound = jnp.zeros((2, 320))

    @jax.jit
    def run(sound):
        model, judges = losses.make_loss(config), losses.make_adversary_loss(config)
        (loss, aux), grads = jax.value_and_grad(model, has_aux=True)(variables["params"], extra, {"audio": sound}, keys)
        shown = {"real": sound, "fake": sound}
        (other, _), slope = jax.value_and_grad(judges, has_aux=True)(params, {}, shown, keys)
        return loss, aux.metrics, grads, other, slope

    for tree in run(sound):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
