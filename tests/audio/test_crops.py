"""Crops: from anywhere or from the start, as long as asked, as loud as asked."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.audio.crops import make_crop, sharpest

RAMP = np.arange(1, 1001, dtype=np.float32) / 2000


def crops(number: int, **changes) -> list[np.ndarray]:
    crop = make_crop(**{"samples": 100, "start_share": 0.0, "transient_share": 0.0, "peak_normalise": False,
                        "quietest": 0.0, **changes})  # fmt: skip
    return [crop({"audio": RAMP, "caption": "x"}, np.random.default_rng(i))["audio"] for i in range(number)]


def test_crops_are_stretches_from_everywhere():
    starts = [int(round(c[0] * 2000)) - 1 for c in crops(500)]
    for c, first in zip(crops(500), starts, strict=True):
        assert_array_equal(c, RAMP[first : first + 100])
    assert min(starts) < 30 and max(starts) > 870 and max(starts) <= 900


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_begins_at_the_start(share):
    began = np.mean([c[0] == RAMP[0] for c in crops(400, start_share=share)])
    assert abs(began - share) < 0.1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_holds_the_click_anywhere_in_it(share):
    clicking = RAMP.copy()
    clicking[640] += 0.3
    crop = make_crop(samples=100, start_share=0.0, transient_share=share, peak_normalise=False, quietest=0.0)
    found = [crop({"audio": clicking}, np.random.default_rng(i))["audio"] for i in range(400)]
    places = [sharpest(c) for c in found if np.abs(np.diff(c)).max() > 0.1]
    assert abs(len(places) / 400 - (share + (1 - share) / 9)) < 0.1
    assert share == 0 or (min(places) < 10 and max(places) > 90)


def test_peak_is_one_and_silence_stays():
    assert all(c.max() == 1 for c in crops(5, peak_normalise=True))
    peaks = [c.max() for c in crops(200, peak_normalise=True, quietest=20.0)]
    assert 0.099 < min(peaks) < 0.15 and 0.9 < max(peaks) <= 1
    crop = make_crop(samples=100, start_share=0.0, transient_share=0.5, peak_normalise=True, quietest=30.0)
    assert_array_equal(crop({"audio": np.zeros(500, np.float32)}, np.random.default_rng(0))["audio"], np.zeros(100))


def test_short_sounds_end_in_silence():
    (c,) = crops(1, samples=1500)
    assert_array_equal(c, np.pad(RAMP, (0, 500)))
