"""The report holds every figure, and its pictures what they claim."""

import json
import math

import numpy as np
import pytest

from videopoet_jax.data.curation import Annotations, Letterbox
from videopoet_jax.data.curation_figures import HERE, KEPT, short
from videopoet_jax.data.curation_filter import verdict
from videopoet_jax.data.curation_report import Item, summary, write_report
from videopoet_jax.data.media import read_image

RULES = {"motion": (0.001, 0.1), "black": (None, 0.1), "duplicate": False}


def item(i, thumbnail=(200, 30, 90), **changes):
    plain = Annotations(
        frames=17, duration=2.0, motion=0.01, static=0.0, black=0.0, letterbox=Letterbox(0.0, 0.0, 0.0, 0.0),
        sharpness=500.0, brightness=0.5, colourfulness=40.0, has_audio=True, loudness=-20.0, silence=0.1, caption=False,
        caption_words=0, first_hash=1, middle_hash=2, scores={},
    )  # fmt: skip
    annotations = plain._replace(**changes)
    picture = np.full((30, 50, 3), thumbnail, np.uint8)
    return Item(f"film_{i}.mp4", annotations, verdict(annotations, RULES), lambda: picture)


ITEMS = [
    item(0), item(1, motion=0.05), item(2, motion=0.0), item(3, motion=0.0, black=1.0), item(4, motion=0.5),
    item(5, duplicate="film_0.mp4", thumbnail=(10, 240, 10)),
]  # fmt: skip


def test_sums_and_every_clip_are_in_the_record():
    found = summary(ITEMS, RULES)
    assert (found["clips"], found["kept"], found["seconds"], found["seconds_kept"]) == (6, 2, 12.0, 4.0)
    assert found["rules"] == {"motion": [0.001, 0.1], "black": [None, 0.1], "duplicate": False}
    assert found["dropped"] == {
        "motion": {"clips": 3, "alone": 2},
        "black": {"clips": 1, "alone": 0},
        "duplicate": {"clips": 1, "alone": 1},
    }
    assert found["quantiles"]["motion"] == {"least": 0, "median": 0.01, "largest": 0.5, "mean": pytest.approx(0.095)}
    fourth = found["items"][3]
    assert (fourth["id"], fourth["kept"]) == ("film_3.mp4", False)
    assert fourth["reasons"] == [
        {"field": "motion", "value": 0.0, "bound": 0.001},
        {"field": "black", "value": 1.0, "bound": 0.1},
    ]
    assert set(fourth["annotations"]) == set(Annotations._fields)
    assert fourth["annotations"]["middle_hash"] == "0000000000000002"


def pixels(picture, colour):
    """How many pixels have about that colour, and the mean row of them."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if isinstance(colour, str) else colour
    here = (np.abs(picture.astype(int) - rgb) < 12).all(-1)
    return int(here.sum()), float(np.nonzero(here)[0].mean()) if here.any() else None


def test_the_pictures_show_what_was_dropped(tmp_path):
    write_report(tmp_path, ITEMS, RULES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dropped.png", "histograms.png", "report.json"]
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(summary(ITEMS, RULES)))
    sheet = read_image(tmp_path / "dropped.png")
    count, row = pixels(sheet, (10, 240, 10))  # the duplicate's thumbnail, in the last row
    assert count > 3_000 and row > 0.75 * len(sheet)
    alike, _ = pixels(sheet, (200, 30, 90))  # two kept, two with too little motion, one with too much, one black
    assert alike == pytest.approx(6 * count, rel=0.05)
    histograms = read_image(tmp_path / "histograms.png")
    assert pixels(histograms, KEPT)[0] > 3 * pixels(histograms, HERE)[0] > 5_000
    write_report(tmp_path / "dropping_none", ITEMS[:2], {})
    assert pixels(read_image(tmp_path / "dropping_none" / "histograms.png"), HERE)[0] < 1_500  # the legend's patch


def test_the_same_clips_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_report(tmp_path / name, ITEMS[-1:], RULES)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_odd_names_odd_numbers_and_all_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("videopoet_jax.data.curation_filter.ANNOTATORS", {"beauty": max})
    odd = item(6, scores={"beauty": math.nan}, loudness=-120.0)._replace(id="$x_{\n 𓂀猫 \x07" + "y" * 300)
    write_report(tmp_path, [odd._replace(verdict=verdict(odd.annotations, {"beauty": (0, 1)}))], {"beauty": (0, 1)})
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["items"][0]["reasons"] == [{"field": "beauty", "value": None, "bound": 0}]
    assert record["quantiles"]["beauty"]["mean"] is None


def test_long_names_keep_their_ends():
    assert short("a.mp4") == "a.mp4"
    assert short("videos/2019/holiday_0001.mp4") == "…2019/holiday_0001.mp4" and len(short("x" * 99)) == 22


def test_clear_errors(tmp_path):
    with pytest.raises(ValueError, match="0 clips: a report is about at least one"):
        write_report(tmp_path, [], RULES)
    with pytest.raises(ValueError, match="rule 'moton': no such field"):
        write_report(tmp_path, ITEMS, {"moton": (0, 1)})
    assert not list(tmp_path.iterdir())
