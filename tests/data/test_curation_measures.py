"""Each measure says what its name says: alike at all sizes, moved by what it is about and by nothing else."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from videopoet_jax.data.curation_measures import (
    QUIETEST,
    Bars,
    Letterbox,
    Loudness,
    Spread,
    colourfulness,
    is_black,
    luma,
    perceptual_hash,
    sharpness,
    working,
)
from videopoet_jax.data.media import fit
from videopoet_jax.data.moving_digits import render

PHOTOGRAPHS = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
RNG = np.random.default_rng(0)


def noisy(frame, sigma):
    return np.clip(frame + RNG.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8)


def film(top=0, bottom=0, left=0, right=0, height=240, width=320, frames=9, colour=0, sigma=0.0, text=""):
    """A photograph that pans inside bars of so many pixels."""
    picture, result = data.astronaut(), []
    inside = (height - top - bottom, width - left - right)
    for i in range(frames):
        frame = np.full((height, width, 3), colour, np.uint8)
        frame[top : height - bottom, left : width - right] = fit(picture[20 + 4 * i : 400 + 4 * i, 4 * i :], *inside)
        image = Image.fromarray(noisy(frame, sigma) if sigma else frame)
        if text:
            ImageDraw.Draw(image).text((width * 0.28, height - bottom + 6), text, font=ImageFont.load_default(16))
        result.append(np.asarray(image))
    return result


def bars(frames):
    found = Bars()
    for frame in frames:
        found.add(working(frame))
    return found.letterbox()


@pytest.mark.parametrize(
    "sides",
    [dict(top=30, bottom=30), dict(left=40, right=24), dict(top=20, bottom=30, left=40, right=40), dict(bottom=12)],
)
@pytest.mark.parametrize("more", [dict(), dict(sigma=4.0), dict(colour=128)])
def test_bars_are_measured(sides, more):
    found = bars(film(**sides, **more))
    true = Letterbox(*(sides.get(name, 0) / (240 if name in ("top", "bottom") else 320) for name in Letterbox._fields))
    np.testing.assert_allclose(found, true, atol=0.012)


def test_subtitles_in_a_bar_are_borne():
    found = bars(film(top=36, bottom=36, text="who is there, at this hour?"))
    np.testing.assert_allclose(found, (0.15, 0.15, 0, 0), atol=0.012)


def test_pictures_without_bars_have_none():
    assert bars(film()) == (0, 0, 0, 0)
    assert bars([np.zeros((64, 64, 3), np.uint8)] * 3) == (0, 0, 0, 0)
    sky = np.linspace(60, 220, 240)[:, None, None].repeat(320, 1).repeat(3, 2).astype(np.uint8)
    assert bars([sky] * 3) == (0, 0, 0, 0)
    wide = [
        any(bars(render("train", level, i, num_frames=9, height=96, width=96).frames))
        for level in (1, 2)
        for i in range(15)
    ]
    assert np.mean(wide) <= 0.1  # a digit's straight upper edge, and photographs of dark skies


def test_the_share_of_bars_is_of_the_area():
    assert Letterbox(0.1, 0.1, 0, 0).share == pytest.approx(0.2)
    assert Letterbox(0.25, 0.25, 0.25, 0.25).share == pytest.approx(0.75)


def test_sharpness_is_the_same_at_all_sizes_and_falls_with_blur():
    from scipy.ndimage import gaussian_filter

    for picture in PHOTOGRAPHS:
        sharp = sharpness(luma(working(picture)))
        assert sharpness(luma(working(working(picture, 256)))) == pytest.approx(sharp, rel=0.1)
        assert sharpness(luma(working(fit(picture, 64, 64)))) < 0.4 * sharp
        blurred = [sharpness(gaussian_filter(luma(working(picture)), sigma)) for sigma in (1, 2, 4)]
        assert sharp > 3 * blurred[0] > 9 * blurred[1] > 27 * blurred[2]
    assert sharpness(np.full((64, 64), 90.0, np.float32)) == 0


def test_colourfulness_follows_its_authors_formula():
    assert colourfulness(np.full((8, 8, 3), 77, np.uint8)) == 0
    halves = np.zeros((2, 4, 3), np.uint8)
    halves[0, :, 0], halves[1, :, 2] = 200, 100  # rg: 200 and 0; yb: 100 and -100
    expected = np.hypot(100, 100) + 0.3 * np.hypot(100, 0)
    assert colourfulness(halves) == pytest.approx(expected, rel=1e-5)
    grey = luma(data.coffee()).astype(np.uint8)[..., None].repeat(3, 2)
    assert colourfulness(grey) < 1 < colourfulness(data.coffee() // 2 + grey // 2) < colourfulness(data.coffee())


def test_black_is_nearly_all_nearly_black():
    black = noisy(np.full((64, 64, 3), 4, np.uint8), 3)
    assert is_black(luma(black))
    black[:8, :8] = 255
    assert is_black(luma(black)) and not is_black(luma(np.where(np.arange(64)[:, None, None] < 2, 255, black)))
    assert not is_black(luma(render("train", 1, 0).frames[0]))


def test_hashes_of_copies_are_near_and_of_other_pictures_far():
    def copies(picture):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=10)
        yield np.asarray(Image.open(file))
        yield working(picture, 64)
        yield np.clip(picture * 1.2 + 10, 0, 255).astype(np.uint8)
        yield noisy(picture, 10)
        yield picture[4:-4, 4:-4]

    hashes = [perceptual_hash(picture) for picture in PHOTOGRAPHS]
    for picture, value in zip(PHOTOGRAPHS, hashes, strict=True):
        assert all((value ^ perceptual_hash(copy)).bit_count() <= 6 for copy in copies(picture))
        assert (value ^ perceptual_hash(picture[:, ::-1])).bit_count() > 20
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) > 20
    assert perceptual_hash(np.zeros((40, 50, 3), np.uint8)) == perceptual_hash(np.full((40, 50, 3), 200, np.uint8)) == 0


@pytest.mark.parametrize("size", [1, 777, 16_000])
def test_loudness_is_that_of_all_chunks_together(size):
    sine = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    sound = np.concatenate([sine, np.zeros(48_000, np.float32)])[:: 20 if size == 1 else 1]
    loud = Loudness(16_000 // (20 if size == 1 else 1))
    for start in range(0, len(sound), size):
        loud.add(sound[start : start + size])
    decibels, silent = loud.measure()
    assert decibels == pytest.approx(-3.01 - 6.02, abs=0.02) and silent == pytest.approx(0.75)


def test_no_sound_is_silence():
    assert Loudness(16_000).measure() == (QUIETEST, 1.0)
    loud = Loudness(16_000)
    loud.add(np.full(100, 1e-4, np.float32))
    assert loud.measure() == (pytest.approx(-80, abs=0.1), 1.0)


@pytest.mark.parametrize(("count", "middle", "step"), [(1, 0, 1), (17, 8, 1), (18, 8, 2), (41, 20, 4), (1000, 512, 64)])
def test_some_frames_are_spread_over_the_film(count, middle, step):
    spread = Spread()
    for i in range(count):
        spread.add(np.full((1, 1, 3), i % 251, np.uint8))
        assert len(spread.frames) <= 17
    assert [frame[0, 0, 0] for frame in spread.frames] == [i % 251 for i in range(0, count, step)]
    assert spread.middle()[0, 0, 0] == middle % 251
