"""The benchmark of the input runs on a film, and refuses two sides that do not do the same work."""

import json

import contest
import input_pipeline
import numpy as np
import pytest
from encoded import encode, moving_square, tone


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Five seconds with sound, B-frames among its frames."""
    path = tmp_path_factory.mktemp("films") / "square.mp4"
    sound = ("aac", 16_000, "mono", tone(5)[None])
    return encode(path, moving_square(125, 144, 192), "libx264", sound=sound, options={"bf": "2"})


def test_a_film_makes_a_line(film, capsys):
    input_pipeline.compare_films(film.parent, None, 1, floor=0)
    line = json.loads(capsys.readouterr().out)
    assert line["frames"] == 34 and line["ratio"] > 0 and len(line["ratios"]) == 1
    assert line["least_db"]["pictures"] > 30 and line["least_db"]["sound"] > 20


def test_the_beginning_of_a_film(film):
    mine, plain = input_pipeline.read(film, 3.0), input_pipeline.read_plainly(film, 3.0)
    assert mine[0].shape == plain[0].shape == (1, 17, 128, 128, 3) and mine[1].shape == plain[1].shape == (1, 34_000)


def test_other_work_is_no_peer(film):
    mine, plain = input_pipeline.read(film, None), input_pipeline.read_plainly(film, None)
    assert input_pipeline.agreement(film, mine, plain)["pictures"] > 30
    pictures, sound = plain
    for other, words in (
        ((pictures[:1], sound), r"pictures \[2, 17, 128, 128, 3\], of PyAV \[1, 17"),
        ((pictures, sound[:, :-1]), r"sound \[2, 34000\], of PyAV \[2, 33999\]"),
        ((np.roll(pictures, 1, axis=1), sound), "pictures agree to .* not 25"),  # a frame late
        ((pictures, np.roll(sound, 20, axis=1)), "sound agree to .* not 15"),  # a millisecond late
        ((pictures, 0 * sound), "sound agree to .* not 15"),
    ):
        with pytest.raises(contest.Failed, match=words):
            input_pipeline.agreement(film, mine, other)


def test_a_folder_without_a_film(tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(contest.Failed, match="no film that can be read"):
        input_pipeline.compare_films(tmp_path, None, 1)
    assert "left out: " in capsys.readouterr().err


def test_decibels_on_literal_pictures():
    assert round(input_pipeline.decibels(255**2, np.ones((2, 3))), 1) == 48.1
    assert input_pipeline.decibels(255**2, np.zeros(3)) == 100
