"""Views of a clip: every frame alike, from everywhere, and nothing else changed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data.augment import make_augment, relit, view

# Red grows downwards, green to the right, blue with time: a pixel tells where and when it was.
PLACES = np.zeros((5, 40, 60, 3), np.uint8)
PLACES[..., 0] += np.arange(40, dtype=np.uint8)[:, None] * 6
PLACES[..., 1] += np.arange(60, dtype=np.uint8) * 4
PLACES[..., 2] += np.arange(5, dtype=np.uint8)[:, None, None] * 50


def views(count, **changes):
    augment = make_augment(**{"height": 20, "width": 30, "widest": 1.0, "mirror": False, "tint": 0.0, **changes})
    return [augment({"video": PLACES, "caption": "x"}, np.random.default_rng(i)) for i in range(count)]


def test_views_are_of_one_place_in_all_frames_and_keep_the_rest():
    for example in views(20):
        video = example["video"]
        assert video.shape == (5, 20, 30, 3) and video.dtype == np.uint8 and example["caption"] == "x"
        assert_array_equal(video[..., :2], np.broadcast_to(video[:1, ..., :2], video[..., :2].shape))
        assert_array_equal(video[..., 2], np.broadcast_to(PLACES[:, :1, :1, 2], video.shape[:3]))


def test_views_come_from_everywhere_in_every_size():
    corners = np.array([[v["video"][0, 0, 0, 0] / 6, v["video"][0, -1, -1, 0] / 6] for v in views(300)])
    tops, heights = corners[:, 0], corners[:, 1] - corners[:, 0] + 1
    assert tops.min() < 1 and tops.max() > 17
    assert heights.min() < 22 and heights.max() > 37


def test_the_widest_view_is_no_wider():
    reds = np.array([np.ptp(v["video"][0, :, 0, 0]) / 6 + 1 for v in views(200, widest=0.6)])
    assert reds.min() < 21 and 23 < reds.max() <= 24.5


def test_half_of_them_are_mirrored():
    mirrored = [v["video"][0, 0, 0, 1] > v["video"][0, 0, -1, 1] for v in views(200, mirror=True)]
    assert 0.4 < np.mean(mirrored) < 0.6
    assert not any(v["video"][0, 0, 0, 1] > v["video"][0, 0, -1, 1] for v in views(20))


def test_the_whole_picture_is_left_as_it_is():
    (same,) = views(1, height=40, width=60)
    assert_array_equal(same["video"], PLACES)


def test_light_changes_by_its_factor_alone():
    assert_array_equal(relit(np.full((1, 1, 1, 3), 200, np.uint8), np.array([0.5, 1, 2]))[0, 0, 0], [100, 200, 255])
    bright = np.stack([v["video"] for v in views(50, height=40, width=60, tint=0.2)]).astype(float)
    factors = bright[:, 0, 20, 30] / np.maximum(PLACES[0, 20, 30], 1)
    assert factors[:, :2].min() > 0.8 and factors[:, :2].max() < 1.23
    assert len(np.unique(factors[:, 0].round(2))) > 10


def test_pictures_too_small_are_refused():
    with pytest.raises(ValueError, match="40×60 frames: a view of 64×64 needs"):
        view(PLACES, 64, 64, 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="a widest view of 0.3: a share of the picture's sides from 0.5 "):
        view(PLACES, 20, 30, 0.3, np.random.default_rng(0))
