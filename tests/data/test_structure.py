"""Flow and depth as pictures, and OpenCV's flow against a world whose motion is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.data import structure
from videopoet_jax.data.moving_digits import render

FLOW = np.array([[[[0.0, 0.0], [4.0, 0.0]], [[0.0, -8.0], [-80.0, 2.0]]]])


def test_pictures_of_literal_flow():
    flow = np.zeros((1, 64, 64, 2))
    flow[:, :2, :2] = FLOW
    depth = np.zeros((1, 64, 64))
    depth[0, 0, 1] = 1
    picture = structure.to_picture(flow, depth)
    assert picture[0, :2, :2].tolist() == [[[128, 128, 0], [192, 128, 255]], [[128, 1, 0], [1, 160, 0]]]
    assert_array_equal(structure.to_picture(flow, None)[..., 2], 0)


def test_both_ways_to_half_a_level():
    clip = render("train", 2, 3)
    flow, depth = structure.from_picture(structure.to_picture(clip.truth.flow(), clip.truth.depth()))
    assert np.abs(flow - clip.truth.flow()).max() <= 0.5 * 8 / 127 + 1e-6
    assert np.abs(depth - clip.truth.depth()).max() <= 0.5 / 255 + 1e-6
    assert np.abs(flow).max() > 0.4  # something moves


@pytest.mark.parametrize("level, digit, beside", [(1, 0.2, None), (2, 0.6, 0.4)])
def test_dis_against_the_truth(level, digit, beside):
    """Of a digit on black, and over photographs; at level 1 a black background has no motion to see."""
    pytest.importorskip("cv2")
    wrong, outside, speeds = [], [], []
    for index in range(6):
        clip = render("train", level, index)
        mask, true = clip.truth.masks()[:-1], clip.truth.flow()[:-1]
        found = structure.dis_flow(clip.frames)
        assert found.shape == (17, 64, 64, 2) and found.dtype == np.float32
        assert_array_equal(found[-1], found[-2])
        error = np.linalg.norm(found[:-1] - true, axis=-1)
        wrong.append(error[mask].mean())
        outside.append(error[~mask].mean())
        speeds.append(np.linalg.norm(true[mask], axis=-1).mean())
    assert np.mean(wrong) < digit < 0.5 * np.mean(speeds)
    assert beside is None or np.mean(outside) < beside


def test_a_picture_does_not_move_and_a_small_one_is_refused():
    pytest.importorskip("cv2")
    assert_allclose(structure.dis_flow(np.zeros((1, 16, 16, 3), np.uint8)), np.zeros((1, 16, 16, 2)))
    with pytest.raises(ValueError, match="8×16 frames: flow needs sides of at least 16 pixels"):
        structure.dis_flow(np.zeros((2, 8, 16, 3), np.uint8))
