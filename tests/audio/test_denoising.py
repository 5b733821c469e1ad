"""Noise that is mixed in as loud as said, pairs that mean what the flag says, and a flag that reaches the codes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.audio import AudioTokenizer, SoundStream
from videopoet_jax.audio.denoising import coloured, make_pairs, mixed, noisy

NUMBERS = {"noisy_share": 0.5, "crowd_share": 0.5, "snr_low": 0.0, "snr_high": 20.0}


def sounds(batch: int = 64) -> jax.Array:
    return jnp.sin(jnp.arange(1, batch + 1)[:, None] * 0.01 * jnp.arange(500))


def test_noise_is_so_many_decibels_below():
    clean, noise = sounds(3), coloured(jax.random.key(0), (3, 500))
    added = mixed(clean, noise, jnp.array([0.0, 10.0, 20.0])) - clean
    assert_allclose(10 * np.log10(np.sum(clean**2, 1) / np.sum(added**2, 1)), [0, 10, 20], atol=1e-3)


@pytest.mark.parametrize("samples", [500, 501])
def test_the_ratio_is_that_of_what_can_be_heard(samples):
    """No part of the noise is at 0 Hz: with its mean taken off the ratio is the same."""
    clean = jnp.sin(0.1 * jnp.arange(samples))[None].repeat(3, axis=0)
    noise = coloured(jax.random.key(0), (3, samples))
    assert_allclose(noise.mean(axis=1), 0, atol=1e-7)
    added = np.asarray(mixed(clean, noise, jnp.array([-5.0, 0.0, 20.0])) - clean, np.float64)
    heard = np.sum((added - added.mean(axis=1, keepdims=True)) ** 2, axis=1)
    assert_allclose(10 * np.log10(np.sum(np.square(clean, dtype=np.float64), axis=1) / heard), [-5, 0, 20], atol=1e-4)


def test_noise_of_one_example_alone_is_as_loud_as_said():
    heard, wanted = noisy(7, np.sin(0.1 * np.arange(16_000)).astype(np.float32), 10.0)
    noise = heard.astype(np.float64) - wanted
    assert 10 * np.log10(np.sum(wanted**2) / np.sum((noise - noise.mean()) ** 2)) == pytest.approx(10, abs=1e-3)


def test_silence_stays_silent_and_silent_noise_adds_nothing():
    zero = jnp.zeros((1, 500))
    assert_array_equal(mixed(zero, coloured(jax.random.key(0), (1, 500)), jnp.zeros(1)), zero)
    assert_array_equal(mixed(sounds(1), zero, jnp.zeros(1)), sounds(1))
    pairs = make_pairs(jax.random.key(0), jnp.zeros((4, 500)), **NUMBERS)
    assert np.isfinite(pairs.heard).all()


def test_colours_run_from_white_to_brown():
    power = np.abs(np.fft.rfft(coloured(jax.random.key(0), (400, 512)))) ** 2
    slopes = [-np.polyfit(np.log(np.arange(2, 250)), np.log(p[2:250]), 1)[0] for p in power]
    assert -0.2 < min(slopes) < 0.3 and 1.7 < max(slopes) < 2.3
    assert np.mean(slopes) == pytest.approx(1, abs=0.1)


def test_wanted_is_clean_where_asked_and_what_was_heard_elsewhere():
    clean = sounds()
    pairs = make_pairs(jax.random.key(0), clean, **NUMBERS)
    asked, noisy = np.asarray(pairs.denoise), np.any(pairs.heard != clean, axis=1)
    for group in (asked & noisy, asked & ~noisy, ~asked & noisy, ~asked & ~noisy):
        assert 5 < group.sum() < 30  # of 64; a quarter each
    assert_array_equal(pairs.wanted[asked], clean[asked])
    assert_array_equal(pairs.wanted[~asked], pairs.heard[~asked])


@pytest.fixture(scope="module")
def able(fields) -> SoundStream:
    return SoundStream(**{**fields, "denoise": True})


@pytest.fixture(scope="module")
def listener(able, variables) -> dict:
    """The tiny model with FiLM, which starts as nothing and is then told to double the latents."""
    init = nn.meta.unbox(jax.jit(able.init)(jax.random.key(0), jnp.zeros((1, 64)), jnp.ones((1,), int)))["params"]
    assert set(init) - set(variables["params"]) == {"film"}
    assert {k: v.shape for k, v in init["film"].items()} == {"gamma": (2, 4), "beta": (2, 4)}
    return {"params": {**variables["params"], "film": init["film"]}, "codebooks": variables["codebooks"]}


def test_film_starts_as_nothing_and_obeys_the_flag_of_each_example(able, listener, variables, fields, noise):
    plain = SoundStream(**fields).apply(variables, noise[:, :800], method=SoundStream.latents)
    asked = jnp.array([False, True, True])
    assert_allclose(able.apply(listener, noise[:, :800], asked, method=SoundStream.latents), plain, rtol=1e-6)
    film = {"gamma": jnp.array([[1.0] * 4, [2.0] * 4]), "beta": jnp.array([[0.0] * 4, [0.5] * 4])}
    told = {**listener, "params": {**listener["params"], "film": film}}
    z = able.apply(told, noise[:, :800], asked, method=SoundStream.latents)
    assert_allclose(z[0], plain[0], rtol=1e-6)
    assert_allclose(z[1:], 2 * plain[1:] + 0.5, rtol=1e-5)


def test_the_tokenizer_denoises_if_it_can(model, listener, tokenizer, fields, noise, tmp_path):
    params = {**listener["params"], "film": {"gamma": jnp.ones((2, 4)), "beta": jnp.array([[0.0] * 4, [9.0] * 4])}}
    denoiser = AudioTokenizer({**fields, "denoise": True}, params, listener["codebooks"])
    plain, clean = denoiser.encode(noise[0]).codes, denoiser.encode(noise[0], denoise=True).codes
    assert_array_equal(plain, tokenizer.encode(noise[0]).codes)
    assert (plain != clean).any()
    pieces = [np.asarray(noise[0][:1000]), np.asarray(noise[0][1000:])]
    assert_array_equal(np.concatenate(list(denoiser.encode_pieces(pieces, denoise=True))), clean)
    denoiser.save_pretrained(tmp_path, dtype="float32")
    assert_array_equal(AudioTokenizer.from_pretrained(tmp_path).encode(noise[0], denoise=True).codes, clean)
    with pytest.raises(ValueError, match="has not learned it"):
        tokenizer.encode(noise[0], denoise=True)


def test_what_was_saved_before_denoising_loads():
    assert AudioTokenizer.from_pretrained("nano").config["denoise"] is False
