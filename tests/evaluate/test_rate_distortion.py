"""Rates and distortions: curves read at literal rates, Bjøntegaard's delta, bits of a static code, tables."""

import itertools
import math

import numpy as np
import pytest

from videopoet_jax.evaluate.rate_distortion import (
    MEASURES,
    At,
    Point,
    at_rate,
    bd_rate,
    bracket,
    compare,
    labels,
    mean_curve,
    rate_at,
    static_bits,
    to_markdown,
)
from videopoet_jax.evaluate.rate_figure import save_rate_figure


def curve(*pairs, name="psnr"):
    return [Point(float(rate), {name: value}) for rate, value in pairs]


LINE = curve((1, 10.0), (2, 15.0), (4, 20.0))  # 5 dB for every doubling


def test_a_curve_is_read_at_its_points_and_between_them_over_the_logarithm_of_the_rate():
    for points in (LINE, LINE[::-1]):
        for rate, value in ((1, 10), (2, 15), (4, 20), (math.sqrt(2), 12.5), (2 * math.sqrt(2), 17.5)):
            assert at_rate(points, rate, "psnr").value == pytest.approx(value)
            assert rate_at(points, value, "psnr").value == pytest.approx(rate)


def test_a_bent_curve_keeps_its_order():
    bent = curve((1, 10.0), (2, 19.0), (4, 20.0), (8, 20.1))
    values = [at_rate(bent, rate, "psnr").value for rate in np.geomspace(1, 8, 50)]
    assert np.all(np.diff(values) > 0)
    for value in (12.0, 19.5, 20.05):
        assert at_rate(bent, rate_at(bent, value, "psnr").value, "psnr").value == pytest.approx(value, abs=1e-9)


def test_nothing_is_guessed_beyond_the_ends():
    assert at_rate(LINE, 0.5, "psnr") == At(10, -1) and at_rate(LINE, 9, "psnr") == At(20, 1)
    assert rate_at(LINE, 9, "psnr") == At(1, -1)
    assert rate_at(LINE, 21, "psnr") == At(4, 1) and rate_at(LINE, 20, "psnr") == At(pytest.approx(4), 0)
    assert at_rate(LINE, 1, "psnr") == At(10, 0) and at_rate(LINE, 4, "psnr").beyond == 0
    assert at_rate(LINE[:1], 1, "psnr") == At(10, 0) and at_rate(LINE[:1], 2, "psnr") == At(10, 1)


def test_a_figure_that_falls_is_better_when_lower():
    falling = curve((1, 0.4), (2, 0.2), (4, 0.1), name="lpips")
    assert rate_at(falling, 0.2, "lpips").value == pytest.approx(2)
    assert rate_at(falling, 0.5, "lpips").beyond == -1 and rate_at(falling, 0.05, "lpips").beyond == 1


def test_points_that_cost_more_for_nothing_do_not_count():
    dented = curve((1, 10.0), (2, 15.0), (3, 14.0), (4, 20.0))
    assert rate_at(dented, 15, "psnr").value == pytest.approx(2)
    assert at_rate(curve((1, 10.0), (1, 10.0), (2, 15.0)), 1, "psnr").value == 10  # an encoder's floor


def test_bd_rate_of_curves_that_can_be_done_by_hand():
    # Logarithms to base 2 run 0 → 2 and 0 → 1 between 30 and 40 dB: half a bit apart on average.
    assert bd_rate(curve((1, 30.0), (4, 40.0)), curve((1, 30.0), (2, 40.0)), "psnr") == pytest.approx(2**-0.5 - 1)
    cheaper = [Point(0.7 * p.rate, p.figures) for p in LINE]
    assert bd_rate(LINE, cheaper, "psnr") == pytest.approx(-0.3)
    assert bd_rate(cheaper, LINE, "psnr") == pytest.approx(1 / 0.7 - 1)
    falling = [Point(p.rate, {"lpips": -p.figures["psnr"]}) for p in LINE]
    assert bd_rate(falling, [Point(2 * p.rate, p.figures) for p in falling], "lpips") == pytest.approx(1)
    assert bd_rate(LINE, curve((1, 30.0), (2, 40.0)), "psnr") is None


def test_bd_rate_is_the_mean_gap_of_the_two_curves():
    one, other = curve((1, 10.0), (2, 16.0), (4, 20.0), (8, 23.0)), curve((1, 12.0), (3, 18.0), (5, 21.0))
    values = np.linspace(12, 21, 400)
    gaps = [math.log(rate_at(other, v, "psnr").value / rate_at(one, v, "psnr").value) for v in values]
    assert bd_rate(one, other, "psnr") == pytest.approx(math.exp(np.mean(gaps)) - 1, abs=0.01)  # in JCT-VC's inverse


@pytest.mark.parametrize(
    ("low", "high", "asked"),
    [(3, 5, [2, 3, 1]), (1.5, 30, [2, 3, 4, 1, 0]), (0.1, 1, [2, 1, 0]), (50, 60, [2, 3, 4]), (4, 4, [2])],
)
def test_only_what_brackets_the_rates_is_encoded(low, high, asked):
    log = []

    def measure(quality):
        log.append(quality)
        return Point(2.0**quality, {})

    points = bracket(range(5), measure, low, high)
    assert log == asked and [p.rate for p in points] == [2.0**q for q in sorted(asked)]


def test_the_mean_curve_spans_what_all_clips_cover():
    rates, values = mean_curve([LINE, curve((2, 0.0), (8, 10.0))], "psnr")
    assert rates[0] == pytest.approx(2) and rates[-1] == pytest.approx(4)
    np.testing.assert_allclose(values, np.linspace(7.5, 12.5, len(rates)))
    assert len(mean_curve([LINE, curve((5, 0.0), (8, 10.0))], "psnr")[0]) == 0


def test_static_bits():
    assert static_bits(np.full((5, 4, 4), 7), 8) == 0
    assert static_bits(np.arange(8).reshape(2, 2, 2), 8) == pytest.approx(3)
    # Half the codes are odd and a quarter have the second bit: 1 + 0.8113 bits.
    assert static_bits(np.array([0, 1, 0, 3]), 4) == pytest.approx(1 + 0.8112781)
    assert static_bits(np.arange(5), 5) == pytest.approx(math.log2(5))  # three digits would take 2.7


def comparison():
    codec = [LINE, [Point(p.rate, {"psnr": p.figures["psnr"] + 10}) for p in LINE]]
    return compare("H.265", [Point(2.0, {"psnr": 16.0}), Point(0.5, {"psnr": 15.0})], codec)


def test_a_comparison_is_at_each_clips_own_bits():
    found = comparison()
    assert found.clips == 2 and found.too_low == 1 and found.rate == pytest.approx(1.5)
    assert found.figures["psnr"] == pytest.approx((15 + 20) / 2)  # the second at its lowest rate, 1
    assert found.ahead == {"psnr": 1}
    # 16 dB take 2·2^(1/5), of 2; 15 dB take the codec no more than 1, of 0.5.
    assert found.share["psnr"].value == pytest.approx(math.sqrt(2**0.2 * 2)) and found.share["psnr"].beyond == -1
    words = to_markdown("codes", [Point(2.0, {"psnr": 16.0}), Point(0.5, {"psnr": 15.0})], [found], labels(64, 64))
    assert "| codes | 1.2500 | 15.50 |" in words and "| H.265 | 1.5000 | 17.50 (1) |" in words
    assert "H.265 cannot go as low on 1 of 2 clips" in words and "| H.265 | ≤ 1.52 |" in words


def test_bounds_on_both_sides_say_nothing():
    found = compare("H.265", [Point(2.0, {"psnr": 5.0}), Point(2.0, {"psnr": 25.0})], [LINE, LINE])
    assert found.share["psnr"] is None
    assert "| H.265 | – |" in to_markdown("codes", [Point(2.0, {"psnr": 5.0})] * 2, [found], labels(64, 64))


def test_the_picture_has_a_panel_for_each_figure_that_was_measured(tmp_path):
    from PIL import Image

    names = ("psnr", "ms_ssim", "vmaf", "lpips", "encode_ms", "decode_ms")
    sizes = []
    for count, path in itertools.product((1, 4), (tmp_path / "a.png",)):
        measured = [*names[:count], "encode_ms", "decode_ms"]
        points = [Point(rate, dict.fromkeys(measured, 1.0 + rate)) for rate in (0.1, 0.2)]
        save_rate_figure(path, {"H.265": [points]}, {"codes $": [points[0]]}, title="one clip", labels=labels(64, 64))
        with Image.open(path) as image:
            sizes.append(image.size)
            assert np.asarray(image.convert("L")).std() > 10
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1]


def test_every_tokenizer_is_drawn(tmp_path):
    """More of them than there are colours: each adds something to the picture."""
    curve = [Point(rate, {"psnr": 20.0, "encode_ms": 1.0, "decode_ms": 1.0}) for rate in (0.1, 0.9)]
    points = {
        f"codes {i}": [Point(0.1 + i / 10, {"psnr": 20.0 + i, "encode_ms": 1.0, "decode_ms": 2.0})] for i in range(6)
    }
    pictures = set()
    for count in (4, 5, 6):
        drawn = dict(list(points.items())[:count])
        save_rate_figure(tmp_path / "a.png", {"H.265": [curve]}, drawn, title="", labels=labels(64, 64))
        pictures.add((tmp_path / "a.png").read_bytes())
    assert len(pictures) == 3


def test_labels_say_how_many_scales_fit():
    assert [labels(size, 256)["ms_ssim"] for size in (256, 64, 12)] == [
        "MS-SSIM (5 scales)", "MS-SSIM (3 scales)", "MS-SSIM (1 scale)"
    ]  # fmt: skip
    assert labels(64, 64)["psnr"] == "PSNR dB" and labels(64, 64).keys() == MEASURES.keys()
