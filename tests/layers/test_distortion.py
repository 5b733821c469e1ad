"""SI-SDR: literal numbers, and what it does not hear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videopoet_jax.layers.distortion import pair, si_sdr

WAVE = np.array([3.0, -3.0, 3.0, -3.0])
ERROR = np.array([1.0, 1.0, -1.0, -1.0])  # a ninth of the power, orthogonal, without a mean


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_a_constant_is_no_distortion(array):
    assert np.isposinf(si_sdr(array(WAVE), array(WAVE + 2)))
    assert si_sdr(array(WAVE), array(WAVE + ERROR)) == pytest.approx(9.5424, abs=1e-4)  # 10·log₁₀ 9
    assert si_sdr(array(WAVE), array(WAVE + ERROR + 10)) == pytest.approx(9.5424, abs=1e-4)
    assert si_sdr(array(WAVE - 5), array(WAVE + ERROR)) == pytest.approx(9.5424, abs=1e-4)


def test_si_sdr_ignores_loudness_and_measures_the_rest():
    rng = np.random.default_rng(0)
    wave = rng.normal(size=(2, 8_000))
    noise = rng.normal(size=(2, 8_000))
    wave, noise = wave - wave.mean(1, keepdims=True), noise - noise.mean(1, keepdims=True)
    noise -= (noise * wave).sum(1, keepdims=True) / (wave**2).sum(1, keepdims=True) * wave  # orthogonal
    noise *= np.sqrt((wave**2).sum(1, keepdims=True) / (noise**2).sum(1, keepdims=True))
    np.testing.assert_allclose(si_sdr(wave, wave + 0.1 * noise), 20, atol=1e-9)
    np.testing.assert_allclose(si_sdr(wave, -3 * (wave + 0.1 * noise) + 1), 20, atol=1e-9)
    np.testing.assert_allclose(jax.jit(si_sdr)(wave, wave + noise), 0, atol=1e-3)
    assert np.isneginf(si_sdr(wave, 0 * wave)).all() and np.isneginf(si_sdr(0 * wave, wave)).all()


def test_a_copy_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"\(4,\) and \(3,\): a copy has its original's shape; cut or pad one"):
        pair(WAVE, WAVE[:3])
