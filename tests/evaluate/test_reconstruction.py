"""The table of copies: exact where it is known, whatever the batches; judges here are cheap stand-ins."""

import json

import numpy as np
import pytest
from skimage import data

from videopoet_jax.evaluate.quality import psnr, ssim
from videopoet_jax.evaluate.reconstruction import PLAIN, Copies, Judges, evaluate, load_judges, to_json, to_markdown
from videopoet_jax.evaluate.resampling import Estimate

JUDGES = Judges(
    lambda one, other: np.abs(one.astype(float) - other).mean((1, 2, 3, 4)) / 255,
    lambda clips: clips[:, :, ::16, ::16].reshape(len(clips), -1).astype(float)[:, :30],
)


@pytest.fixture(scope="module")
def clips():
    """Seven clips of 5 frames of 32×48, views that move over a photograph."""
    picture = data.astronaut()
    starts = [(20 * i + t, 60 * i + 2 * t) for i in range(7) for t in range(5)]
    return np.stack([picture[y : y + 32, x : x + 48] for y, x in starts]).reshape(7, 5, 32, 48, 3)


def noisy(clips):
    """Every copy 10 levels off, up or down; one code in four used of 2^4."""
    off = np.where(np.indices(clips.shape[1:]).sum(0) % 2, 10, -10)
    codes = np.arange(clips.shape[0] * 8).reshape(-1, 2, 2, 2) % 4
    return Copies((clips.astype(int) // 2 + 60 + off).astype(np.uint8), codes, 16)


def batches(clips, size):
    """With the film of each: three of them."""
    films = [f"film {i % 3}" for i in range(len(clips))]
    return ((clips[i : i + size], films[i : i + size]) for i in range(0, len(clips), size))


SYSTEMS = {"exact": lambda clips: Copies(clips.copy(), np.zeros((len(clips), 2, 2, 2), int), 16), "noisy": noisy}


def test_the_figures_are_those_of_the_definitions(clips):
    report = evaluate(batches(clips, 3), SYSTEMS | PLAIN, JUDGES)
    exact, off, still, blocks = report.rows
    assert (report.clips, report.films, report.frames, report.height, report.width) == (7, 3, 5, 32, 48)
    assert exact.psnr.value == float("inf") and exact.psnr.low is None
    assert exact.ssim.value == pytest.approx(1) and exact.lpips.value == 0 and exact.motion == 1
    assert exact.fvd.value == pytest.approx(0, abs=1e-6) and exact.codes_used == 1
    assert exact.bits_per_pixel == off.bits_per_pixel == pytest.approx(8 * 4 / (5 * 32 * 48))
    video = noisy(clips).video
    assert off.psnr.value == pytest.approx(psnr(clips.reshape(1, -1, 48, 3), video.reshape(1, -1, 48, 3))[0])
    assert off.ssim.value == pytest.approx(ssim(clips, video).mean())
    assert off.lpips.value == pytest.approx(JUDGES.lpips(clips, video).mean())
    assert (off.codes_used, off.vocabulary_size) == (4, 16)
    assert off.fvd.low <= off.fvd.value <= off.fvd.high and off.ssim.low < off.ssim.high
    assert still.motion == 0 and still.codes_used is None and still.bits_per_pixel is None
    assert still.fvd.value > 0 and report.floor > 0


def test_batches_do_not_change_the_figures(clips):
    seen = []
    one = evaluate(batches(clips, 7), SYSTEMS, JUDGES, seen.append)
    two = evaluate(batches(clips, 3), SYSTEMS, JUDGES, seen.append)
    assert seen == [7, 3, 6, 7]
    for a, b in zip(one.rows, two.rows, strict=True):
        for x, y in zip(a, b, strict=True):
            if isinstance(y, Estimate):
                assert x.value == pytest.approx(y.value, rel=1e-6, abs=1e-6)
                np.testing.assert_allclose(x.drawn, y.drawn, rtol=1e-6, atol=1e-6)
            else:
                assert x == (pytest.approx(y, rel=1e-6, abs=1e-6) if isinstance(y, float) else y)


def test_the_table_and_the_json_hold_every_row(clips):
    report = evaluate(batches(clips, 4), SYSTEMS | PLAIN, JUDGES)
    figures, differences = (part.splitlines() for part in to_markdown(report).split("\n\n"))
    assert len(figures) == 2 + 4 + 1 and len({line.count("|") for line in figures}) == 1
    assert figures[2].startswith("| exact | exact | 1.000 |") and "25.0% of 16" in figures[3]
    assert "real against" in figures[-1]
    assert len(differences) == 2 + 3 and len({line.count("|") for line in differences}) == 1
    rows = json.loads(json.dumps(to_json(report), allow_nan=False))["rows"]
    assert rows[1]["fvd"]["value"] == report.rows[1].fvd.value and rows[0]["psnr"]["value"] is None
    more = rows[1]["more_than_first"]
    assert more["ssim"]["value"] == pytest.approx(report.rows[1].ssim.value - 1) and more["ssim"]["high"] < 0
    assert more["psnr"] == {"value": None, "low": None, "high": None}


def test_clear_errors(clips, tmp_path):
    with pytest.raises(ValueError, match="3 clips: a Fréchet distance and its floor need 4"):
        evaluate(batches(clips[:3], 2), SYSTEMS, JUDGES)
    with pytest.raises(ValueError, match="short: copies .* choose frames and a size that suit every tokenizer"):
        evaluate(batches(clips, 2), {"short": lambda clips: Copies(clips[:, :4])}, JUDGES)
    with pytest.raises(ValueError, match="no lpips_alexnet in it; fetch it with ./launch/fetch_weights.sh"):
        load_judges(tmp_path)
