"""How near a copy is to its original: PSNR, SSIM and MS-SSIM of pictures, log-spectral distance of sound (its SI-SDR is
in `layers.distortion`); and two copies that cost nothing.

Those of pictures take numpy arrays (computed in float64) or JAX arrays (float32, inside jit too), any number of
leading axes, and give one figure for each picture or clip. uint8 pictures have data_range 255, pictures in [-1, 1]
have 2.
"""

import math
from types import ModuleType

import numpy as np
from jaxtyping import Float, Num, UInt8

from videopoet_jax.layers.distortion import Figures, Real, log10, pair

_RADIUS, _SIGMA = 5, 1.5  # Wang et al. 2004: an 11×11 Gaussian window
_K1, _K2 = 0.01, 0.03
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, the finest first
_WINDOW, _HOP, _FLOOR = 1024, 256, 1e-4  # of spectra: 64 ms at 16 kHz, a quarter of it, and −80 dB is silence


def psnr(
    reference: Num[Real, "*n h w c"], estimate: Num[Real, "*n h w c"], *, data_range: int | float = 255
) -> Float[Figures, "*n"]:
    """Decibels for each picture; infinite for an exact copy."""
    xp, x, y = pair(reference, estimate)
    return _decibels(xp, xp.mean((x - y) ** 2, axis=(-3, -2, -1)), data_range)


def psnr_clip(
    reference: Num[Real, "*n t h w c"], estimate: Num[Real, "*n t h w c"], *, data_range: int | float = 255
) -> Float[Figures, "*n"]:
    """Decibels for each clip, from the error of all its frames together (not the mean of their decibels)."""
    xp, x, y = pair(reference, estimate)
    return _decibels(xp, xp.mean((x - y) ** 2, axis=(-4, -3, -2, -1)), data_range)


def ssim(
    reference: Num[Real, "*n h w c"], estimate: Num[Real, "*n h w c"], *, data_range: int | float = 255
) -> Float[Figures, "*n"]:
    """Structural similarity of each picture: over all whole 11×11 windows, the channels' mean.

    Raises:
        ValueError: a side shorter than a window.
    """
    check_window(*reference.shape[-3:-1])
    xp, x, y = pair(reference, estimate)
    luminance, structure = _similarities(xp, x, y, data_range)
    return xp.mean(luminance * structure, axis=(-3, -2, -1))


def check_window(h: int, w: int) -> None:
    """Raises unless an 11×11 window fits."""
    if min(h, w) < 2 * _RADIUS + 1:
        raise ValueError(f"{h}×{w} pictures: SSIM looks through 11×11 windows; give pictures of at least 11×11.")


def ms_ssim_scales(h: int, w: int) -> int:
    """How many of the five scales fit: each has half the sides (rounded up) of the one before, and at least 11.

    `161 161 → 5`, `128 128 → 4`, `64 64 → 3`, `11 11 → 1`
    """
    check_window(h, w)
    side, scales = min(h, w), 0
    while scales < len(_SCALES) and side >= 2 * _RADIUS + 1:
        side, scales = (side + 1) // 2, scales + 1
    return scales


def ms_ssim(
    reference: Num[Real, "*n h w c"], estimate: Num[Real, "*n h w c"], *, data_range: int | float = 255
) -> Float[Figures, "*n"]:
    """Multi-scale structural similarity (Wang et al. 2003) of each picture, the channels' mean.

    The product over five scales of the mean contrast and structure, each to its weight, the coarsest with luminance
    too; a negative mean counts as 0. From scale to scale, 2×2 pixels become their mean, an odd side repeats its last.

    Sides below 161 have no room for five. Not in the paper; ours: they take the finest `ms_ssim_scales(h, w)`, their
    weights scaled to the sum of all five; such figures compare only with those of pictures of as many scales.

    Raises:
        ValueError: a side shorter than a window of 11×11.
    """
    weights = _SCALES[: ms_ssim_scales(*reference.shape[-3:-1])]
    whole = sum(_SCALES) / sum(weights)
    xp, x, y = pair(reference, estimate)
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale > 0:
            x, y = _halved(xp, x), _halved(xp, y)
        luminance, structure = _similarities(xp, x, y, data_range)
        part = luminance * structure if scale == len(weights) - 1 else structure
        product = product * xp.maximum(xp.mean(part, axis=(-3, -2)), 0.0) ** (weight * whole)
    return xp.mean(product, axis=-1)


def _similarities(xp: ModuleType, x: Real, y: Real, data_range: int | float) -> tuple[Real, Real]:
    """Luminance, and contrast with structure, for every window and channel."""
    middle = data_range / 2  # variances are differences of squares: smaller squares lose less in float32
    x, y = x - middle, y - middle
    mean_x, mean_y = _blur(xp, x), _blur(xp, y)
    var_x = _blur(xp, x * x) - mean_x**2
    var_y = _blur(xp, y * y) - mean_y**2
    covariance = _blur(xp, x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + middle, mean_y + middle
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def _halved(xp: ModuleType, x: Real) -> Real:
    """The means of 2×2 pixels; an odd side first repeats its last row or column."""
    h, w = x.shape[-3:-1]
    x = xp.pad(x, [(0, 0)] * (x.ndim - 3) + [(0, h % 2), (0, w % 2), (0, 0)], mode="edge")
    return (x[..., ::2, ::2, :] + x[..., 1::2, ::2, :] + x[..., ::2, 1::2, :] + x[..., 1::2, 1::2, :]) / 4


def ssim_clip(
    reference: Num[Real, "*n t h w c"], estimate: Num[Real, "*n t h w c"], *, data_range: int | float = 255
) -> Float[Figures, "*n"]:
    """The mean of the frames' structural similarities, for each clip."""
    return ssim(reference, estimate, data_range=data_range).mean(axis=-1)


def log_spectrum(sound: Float[np.ndarray, " s"]) -> Float[np.ndarray, "f bins"]:
    """Decibels of Hann windows a quarter of their length apart; a full-scale sine peaks at 0, silence is −80.

    Raises:
        ValueError: a sound shorter than a window.
    """
    if len(sound) < _WINDOW:
        raise ValueError(f"{len(sound)} samples: spectra are of {_WINDOW}; give a longer sound.")
    hann = np.hanning(_WINDOW + 1)[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64), _WINDOW)[::_HOP]
    return 20 * np.log10(np.abs(np.fft.rfft(windows * hann)) * (2 / hann.sum()) + _FLOOR)


def spectral_distance(reference: Float[np.ndarray, "f bins"], estimate: Float[np.ndarray, "f bins"]) -> float:
    """Log-spectral distance in dB (Gray and Markel 1976): the root mean square over frequencies, the mean over time."""
    return float(np.mean(np.sqrt(np.mean((reference - estimate) ** 2, axis=-1))))


def repeat_last(given: UInt8[np.ndarray, "t h w c"], num_frames: int) -> UInt8[np.ndarray, "t2 h w c"]:
    """What knows nothing of motion: the last given frame, again and again.  `1 2 3, 4 → 3 3 3 3`"""
    return np.repeat(given[-1:], num_frames, axis=0)


def block_mean(
    video: UInt8[np.ndarray, "t h w c"], block: tuple[int, int, int] = (4, 8, 8)
) -> UInt8[np.ndarray, "t h w c"]:
    """What a tokenizer must beat: every block of frames × height × width becomes its mean colour.

    Frame 0 is by itself, then `block[0]` frames go together: the grid of a causal tokenizer.
    """
    frames, out = video.astype(np.float64), np.empty(video.shape, np.float64)
    depth, *sides = block
    for start, stop in [(0, 1), *((t, min(t + depth, len(video))) for t in range(1, len(video), depth))]:
        means = frames[start:stop].mean(axis=0)
        for axis, side in enumerate(sides):
            edges = np.arange(0, means.shape[axis], side)
            counts = np.diff(np.append(edges, means.shape[axis]))
            sums = np.add.reduceat(means, edges, axis=axis)
            shape = [-1 if a == axis else 1 for a in range(3)]
            means = np.repeat(sums / counts.reshape(shape), counts, axis=axis)
        out[start:stop] = means
    return np.round(out).astype(np.uint8)


def _decibels(xp: ModuleType, error: Figures, data_range: int | float) -> Figures:
    ratio = xp.where(error > 0, data_range**2 / xp.where(error > 0, error, 1), math.inf)
    return 10 * log10(xp, ratio)


def _blur(xp: ModuleType, x: Real) -> Real:
    """The Gaussian mean of every whole window: rows, then columns."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights = (weights / weights.sum()).tolist()
    for axis in (-3, -2):
        size = x.shape[axis] - 2 * _RADIUS
        index = [slice(None)] * x.ndim
        total = 0
        for offset, weight in enumerate(weights):
            index[axis] = slice(offset, offset + size)
            total = total + weight * x[tuple(index)]
        x = total
    return x
