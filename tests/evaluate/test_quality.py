"""PSNR, SSIM, MS-SSIM, log-spectral distance: invariances, then equality with scikit-image and formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from videopoet_jax.evaluate.quality import (
    block_mean,
    log_spectrum,
    ms_ssim,
    ms_ssim_scales,
    psnr,
    psnr_clip,
    repeat_last,
    spectral_distance,
    ssim,
    ssim_clip,
)


@pytest.fixture(scope="module")
def clips():
    """Two clips of 3 frames of 40×48, and noisy copies."""
    rng = np.random.default_rng(0)
    picture = data.astronaut()
    clips = np.stack(
        [[picture[100 + 9 * t : 140 + 9 * t, 150 + 80 * b : 198 + 80 * b] for t in range(3)] for b in range(2)]
    )
    noise = rng.normal(0, [5, 20, 60], (2, 40, 48, 3, 3)).transpose(0, 4, 1, 2, 3)
    return clips, np.clip(clips + noise, 0, 255).astype(np.uint8)


def test_an_exact_copy_is_perfect(clips):
    assert np.isposinf(psnr(clips[0], clips[0])).all()
    np.testing.assert_allclose(ssim(clips[0], clips[0]), 1)


def test_more_noise_is_worse_and_order_does_not_matter(clips):
    original, noisy = clips
    for figure in (psnr, ssim):
        values = figure(original, noisy)
        assert values.shape == (2, 3) and (np.diff(values, axis=1) < 0).all()
        np.testing.assert_allclose(values, figure(noisy, original))


def test_equal_to_scikit_image(clips):
    original, noisy = clips
    for b in range(2):
        for t in range(3):
            x, y = original[b, t], noisy[b, t]
            wanted = structural_similarity(
                x, y, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            assert ssim(x, y) == pytest.approx(wanted, abs=1e-10)
            assert float(ssim(jnp.asarray(x), jnp.asarray(y))) == pytest.approx(wanted, abs=1e-4)
            assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(x, y), abs=1e-10)
            assert float(psnr(jnp.asarray(x), jnp.asarray(y))) == pytest.approx(psnr(x, y), abs=1e-4)


def naive_ms_ssim(x, y):
    """Scale by scale and channel by channel out of scikit-image: a huge K1 makes its luminance 1."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    weights, figures = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333], []
    for c in range(3):
        a, b, figure = x[..., c].astype(float), y[..., c].astype(float), 1.0
        for scale, weight in enumerate(weights):
            structure = structural_similarity(a, b, K1=1e9, **options)
            figure *= max(0, structural_similarity(a, b, **options) if scale == 4 else structure) ** weight
            a, b = (np.pad(p, [(0, side % 2) for side in p.shape], mode="edge") for p in (a, b))
            a, b = block_reduce(a, (2, 2), np.mean), block_reduce(b, (2, 2), np.mean)
        figures.append(figure)
    return np.mean(figures)


@pytest.mark.parametrize("size", [(176, 192), (171, 165)])
def test_ms_ssim_equals_one_built_from_scikit_image(size):
    picture = data.astronaut()[60 : 60 + size[0], 130 : 130 + size[1]]
    rng = np.random.default_rng(0)
    noisy = np.clip(picture + rng.normal(0, 30, picture.shape), 0, 255).astype(np.uint8)
    wanted = naive_ms_ssim(picture, noisy)
    assert ms_ssim(picture, noisy) == pytest.approx(wanted, abs=1e-9)


def test_ms_ssim_of_small_pictures_takes_the_scales_that_fit(clips):
    assert [ms_ssim_scales(side, 999) for side in (11, 21, 22, 40, 41, 64, 128, 160, 161, 2000)] == [
        1, 2, 2, 2, 3, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    original, noisy = clips
    np.testing.assert_allclose(ms_ssim(original, original), 1)
    values = ms_ssim(original, noisy)
    assert values.shape == (2, 3) and (np.diff(values, axis=1) < 0).all()
    # One scale is SSIM itself; a negative of a picture is as unlike as can be.
    x, y = original[..., :15, :15, :], noisy[..., :15, :15, :]
    np.testing.assert_allclose(ms_ssim(x, y), ssim(x, y), rtol=1e-3)  # the paper's weights sum to 1.0001
    assert (ms_ssim(original, 255 - original) < 0.05).all()


def test_float32_keeps_its_digits_where_pictures_are_flat():
    """Bright and flat: the variance is a difference of large squares."""
    rng = np.random.default_rng(0)
    x = np.full((32, 32, 3), 250, np.uint8)
    y = (x + rng.integers(-1, 2, x.shape)).astype(np.uint8)
    assert float(ssim(jnp.asarray(x), jnp.asarray(y))) == pytest.approx(ssim(x, y), abs=1e-4)


def test_the_data_range_only_scales(clips):
    original, noisy = (clip / 127.5 - 1 for clip in clips)
    np.testing.assert_allclose(psnr(original, noisy, data_range=2.0), psnr(*clips), rtol=1e-9)
    assert np.abs(ssim(original + 1, noisy + 1, data_range=2.0) - ssim(*clips)).max() < 1e-9


def test_clips_pool_the_error_of_their_frames(clips):
    original, noisy = clips
    tall = psnr(original.reshape(2, 120, 48, 3), noisy.reshape(2, 120, 48, 3))
    np.testing.assert_allclose(psnr_clip(original, noisy), tall)
    np.testing.assert_allclose(ssim_clip(original, noisy), ssim(original, noisy).mean(1))


def test_inside_jit(clips):
    original, noisy = (jnp.asarray(clip[0], jnp.float32) / 127.5 - 1 for clip in clips)
    figures = (psnr, ssim, ms_ssim)
    inside = jax.jit(lambda x, y: [figure(x, y, data_range=2.0) for figure in figures])(original, noisy)
    for found, figure in zip(inside, figures, strict=True):
        exact = figure(np.asarray(original, np.float64), np.asarray(noisy, np.float64), data_range=2.0)
        np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_spectra_are_in_decibels_of_full_scale_and_their_distance_is_what_a_gain_makes():
    wave = np.sin(2 * np.pi * 1_000 * np.arange(41 * 2_000) / 16_000).astype(np.float32)
    spectrum = log_spectrum(wave)
    assert spectrum.shape == (1 + (len(wave) - 1024) // 256, 513)
    assert np.argmax(spectrum[7]) == 64 and abs(spectrum[7, 64]) < 0.1  # 1,000 Hz of 16,000 in 1,024 rows
    np.testing.assert_allclose(log_spectrum(0 * wave), -80)
    assert spectral_distance(spectrum, spectrum) == 0
    noise = np.random.default_rng(0).normal(0, 0.3, 20_000).astype(np.float32)
    assert abs(spectral_distance(log_spectrum(noise), log_spectrum(noise / 10)) - 20) < 1  # the floor takes some
    with pytest.raises(ValueError, match="100 samples: spectra are of 1024"):
        log_spectrum(wave[:100])


def test_a_block_mean_is_the_mean_of_each_block(clips):
    video = np.random.default_rng(0).integers(0, 256, (9, 20, 24, 3), dtype=np.uint8)
    out = block_mean(video, (4, 8, 8))
    np.testing.assert_array_equal(out[0, :8, :8], np.broadcast_to(video[0, :8, :8].mean((0, 1)).round(), (8, 8, 3)))
    wanted = video[1:5, 8:16, 16:24].astype(float).mean((0, 1, 2)).round()
    np.testing.assert_array_equal(out[1:5, 8:16, 16:24], np.broadcast_to(wanted, (4, 8, 8, 3)))
    np.testing.assert_array_equal(out[5:, 16:, :8].reshape(-1, 3), np.broadcast_to(out[5, 16, 0], (4 * 4 * 8, 3)))
    np.testing.assert_array_equal(block_mean(out, (4, 8, 8)), out)
    np.testing.assert_array_equal(block_mean(video, (1, 1, 1)), video)


def test_repeat_last():
    video = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert repeat_last(video, 4).ravel().tolist() == [2, 2, 2, 2]


def test_clear_errors():
    with pytest.raises(ValueError, match="11×11"):
        ssim(np.zeros((10, 64, 3)), np.zeros((10, 64, 3)))
    with pytest.raises(ValueError, match="11×11"):
        ms_ssim(np.zeros((10, 64, 3)), np.zeros((10, 64, 3)))
