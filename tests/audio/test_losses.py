"""Losses: nothing for equal sounds, finite for silence, deaf or not to phase, and enough to learn one clip."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.audio import AudioTokenizer, losses, spectra
from videopoet_jax.layers.distortion import si_sdr

SPECTRAL = {"windows": (64, 128, 256, 512), "bins": 64, "sample_rate": 16_000, "floor": 1e-3}


def sine(hertz: float, phase: float = 0.0, samples: int = 4096) -> jax.Array:
    return jnp.sin(2 * jnp.pi * hertz * jnp.arange(samples) / 16_000 + phase)[None]


def test_equal_sounds_cost_nothing():
    x = sine(300) + sine(1000)
    assert float(losses.spectral_loss(x, x, **SPECTRAL)) < 1e-3  # the root's TINY is all that is left
    assert float(losses.waveform_loss(x, x)) == 0


@pytest.mark.parametrize("silent", ["target", "output", "both"])
def test_silence_has_finite_loss_and_gradient(silent):
    zero, tone = jnp.zeros((1, 2048)), sine(300, samples=2048)
    target = zero if silent in ("target", "both") else tone
    output = zero if silent in ("output", "both") else tone
    value, pull = jax.jit(jax.value_and_grad(lambda y: losses.spectral_loss(target, y, **SPECTRAL)))(output)
    assert np.isfinite(value) and np.isfinite(pull).all()


def test_spectrum_hears_pitch_and_only_the_waveform_hears_phase():
    x, shifted, higher = sine(300), sine(300, jnp.pi / 2), sine(420)
    same, other = (float(losses.spectral_loss(x, y, **SPECTRAL)) for y in (shifted, higher))
    assert same < 0.3 * other
    assert float(losses.waveform_loss(x, shifted)) > 0.9


@pytest.mark.parametrize("window", [64, 256, 2048])
def test_mel_is_an_amplitude_whatever_the_window(window):
    mel = spectra.mel_spectrogram(sine(2000, samples=8192), window=window, bins=64, sample_rate=16_000)
    assert mel.shape[-1] == 64
    middle = mel[0, mel.shape[1] // 2]
    assert 0.4 < float(middle.max()) < 2.1


def test_mel_filters_are_triangles_in_order():
    filters = spectra.mel_filters(2048, 64, 16_000)
    peaks = filters.argmax(axis=0)
    assert (np.diff(peaks) > 0).all() and filters.min() == 0 and filters.max() <= 1
    inside = filters[peaks[0] : peaks[-1]].sum(axis=1)
    assert_allclose(inside, 1, atol=1e-3)  # neighbours add up: no frequency is forgotten


@pytest.mark.parametrize("samples", [1000, 1024, 1025])
def test_every_sample_is_in_four_windows(samples):
    windows = spectra.frames_of(jnp.ones((1, samples)), 64)
    assert float(windows.sum()) == 4 * samples


@pytest.fixture
def config(fields) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict({"model": fields})
    c.loss = ml_collections.ConfigDict(
        {"windows": (64, 128), "mel_bins": 16, "log_floor": 1e-2, "spectral_weight": 1e-3, "waveform_weight": 10.0,
         "commitment_weight": 1.0, "bypass_share": 0.0}
    )  # fmt: skip
    c.adversary = ml_collections.ConfigDict({"weight": 0.0})
    return c


def test_a_tiny_model_learns_one_clip(config, variables):
    """Eighty steps on one tone: an order of magnitude off the waveform loss, codebooks learning along; and then every
    further level makes the copy better."""
    loss_fn, optimizer = losses.make_loss(config), optax.adam(1e-2)
    batch = {"audio": jnp.tile(sine(500, samples=640), (4, 1))}

    @jax.jit
    def step(params, extra, state, number):
        def keys(name):
            return jax.random.fold_in(jax.random.key(len(name)), number)

        (_, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, extra, batch, keys)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), aux.extra, state, aux.metrics

    params, extra = variables["params"], {**losses.initial_extra(config), "codebooks": variables["codebooks"]}
    state, first = optimizer.init(params), None
    for number in range(80):
        params, extra, state, metrics = step(params, extra, state, number)
        first = first or {k: float(v) for k, v in metrics.items()}
    assert set(metrics) == {"spectral", "waveform", "commitment", "si_sdr", "codes_in_use", "codes_in_use_last_level"}
    assert float(metrics["waveform"]) < 0.2 * first["waveform"]
    assert float(metrics["si_sdr"]) > first["si_sdr"] + 5
    assert not np.array_equal(extra["codebooks"]["counts"], variables["codebooks"]["counts"])

    tokenizer = AudioTokenizer(config.model.to_dict(), params, extra["codebooks"])
    codes, sound = tokenizer.encode(batch["audio"][0]).codes, batch["audio"][:1]
    heard = [float(si_sdr(sound[0], jnp.asarray(tokenizer.decode(codes[:, :n])))) for n in (1, 2, 3)]
    assert heard[0] < heard[1] < heard[2]  # one model, three bit rates


def test_the_gradient_reaches_every_parameter(config, variables):
    loss_fn = losses.make_loss(config)
    batch = {"audio": 0.3 * jax.random.normal(jax.random.key(0), (2, 640))}
    extra = {**losses.initial_extra(config), "codebooks": variables["codebooks"]}
    params = jax.tree.map(lambda p: p + 0.01, variables["params"])  # a fresh residual block is the identity
    grads = jax.jit(jax.grad(lambda p: loss_fn(p, extra, batch, lambda _: jax.random.key(1))[0]))(params)
    still = [jax.tree_util.keystr(k) for k, g in jax.tree_util.tree_leaves_with_path(grads) if not np.any(g)]
    assert still == []


def test_the_logged_si_sdr_is_the_mean_of_the_examples_that_have_one(config, variables):
    """Each example is rebuilt alone, so those of a batch can be told by silencing the others."""
    extra = {**losses.initial_extra(config), "codebooks": variables["codebooks"]}
    loss_fn = losses.make_loss(config)

    @jax.jit
    def logged(sound):
        return loss_fn(variables["params"], extra, {"audio": sound}, lambda _: jax.random.key(1))[1].metrics

    sounds = 0.3 * jax.random.normal(jax.random.key(0), (4, 640))
    others = jnp.array([0, 2, 3])
    batches = sounds, sounds.at[1].set(0), sounds.at[others].set(0)
    all_four, three, one = (float(logged(batch)["si_sdr"]) for batch in batches)
    assert_allclose(4 * all_four, 3 * three + one, rtol=1e-4)
    assert float(logged(0 * sounds)["si_sdr"]) == 0
