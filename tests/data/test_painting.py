"""Holes: MAGVIT's regions on literal pictures, complements, and boxes that leave something."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data import painting


def rows(mask):
    return ["".join(".#"[int(seen)] for seen in row) for row in mask]


@pytest.mark.parametrize(
    "name, first, last",
    [
        ("central", "....  .##.  .##.  ....", "....  .##.  .##.  ...."),
        ("horizontal", "....  ####  ####  ....", "....  ####  ####  ...."),
        ("vertical", ".##.  .##.  .##.  .##.", ".##.  .##.  .##.  .##."),
        ("dynamic", "##..  ##..  ##..  ##..", "..##  ..##  ..##  ..##"),
        ("dynamic_central", "....  ##..  ##..  ....", "....  ..##  ..##  ...."),
    ],
)
def test_regions_of_a_small_picture(name, first, last):
    region = painting.region(name, 17, 4, 4)
    assert region.shape == (17, 4, 4)
    assert rows(region[0]) == first.split() and rows(region[-1]) == last.split()


@pytest.mark.parametrize("name", painting.REGIONS)
def test_inpainting_and_outpainting_are_complements(name):
    size = (5, 24, 16)
    assert_array_equal(painting.inpainting(name, *size), ~painting.outpainting(name, *size))
    share = painting.inpainting(name, *size).mean()
    assert share == (0.25 if name.endswith("central") else 0.5)


def test_a_dynamic_window_slides_and_stays_as_wide():
    window = painting.region("dynamic", 17, 8, 64)
    left = window[:, 0].argmax(axis=1)
    assert_array_equal(left, np.arange(17) * 2)
    assert (window[:, 0].sum(axis=1) == 32).all()


def test_paint_takes_away_the_hole_and_nothing_else():
    video = np.random.default_rng(0).integers(0, 100, (3, 8, 8, 3), np.uint8)
    hole = painting.region("central", 3, 8, 8)
    painted = painting.paint(video, hole)
    assert painted.dtype == np.uint8 and (painted[hole] == painting.FILL).all()
    assert_array_equal(painted[~hole], video[~hole])


def test_boxes_are_boxes_anywhere_and_leave_something():
    rng = np.random.default_rng(0)
    boxes = [painting.box(5, 16, 24, rng) for _ in range(300)]
    for hole in boxes:
        edges = [np.flatnonzero(hole.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        assert hole.sum() == np.prod([len(edge) for edge in edges])  # all of it, and nothing else
        assert all((np.diff(edge) == 1).all() for edge in edges)
        assert [len(e) >= n // 4 for e, n in zip(edges, hole.shape, strict=True)] == [True] * 3
        assert not hole.all()
    reached = np.any(boxes, axis=0)
    assert reached.all()  # the corners too


def test_another_region_is_refused():
    with pytest.raises(ValueError, match="region 'middle': unknown; use one of central, horizontal"):
        painting.region("middle", 5, 8, 8)
