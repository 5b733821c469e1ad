"""Motion is what was moved, not what was made noisy or dull."""

import numpy as np
import pytest
from skimage import data

from videopoet_jax.layers.motion import flow_length


def moving(dy, dx, frames=4):
    picture = data.astronaut()
    return np.stack([picture[100 + t * dy : 196 + t * dy, 150 + t * dx : 246 + t * dx] for t in range(frames)])


@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (2, 1), (3, 4)])
def test_a_picture_that_moves_is_measured_in_pixels(dy, dx):
    found = flow_length(moving(dy, dx))
    assert found.shape == (3,)
    np.testing.assert_allclose(found, np.hypot(dy, dx), rtol=0.06)
    dull = (moving(dy, dx) // 4 + 90).astype(np.uint8)  # a quarter of the contrast: differences would be a quarter
    np.testing.assert_allclose(flow_length(dull), np.hypot(dy, dx), rtol=0.06)


def test_some_pairs_stand_for_all():
    clip = np.concatenate([moving(0, 1), moving(2, 1)])
    np.testing.assert_array_equal(flow_length(clip, 3), flow_length(clip)[::3])
    np.testing.assert_array_equal(flow_length(clip, 3, first=1), flow_length(clip)[1::3])


def test_what_stands_still_does_not_move():
    still = moving(0, 0)
    assert (flow_length(still) == 0).all()
    assert (flow_length(np.zeros_like(still)) == 0).all()
    brighter = still // 2 + 20 * np.arange(4, dtype=np.uint8)[:, None, None, None]
    np.testing.assert_allclose(flow_length(brighter), 0, atol=0.05)
    noise = np.random.default_rng(0).normal(0, 5, still.shape)
    assert (flow_length(np.clip(still + noise, 0, 255).astype(np.uint8)) < 0.3).all()


def test_clear_errors():
    for shape in ((1, 32, 32, 3), (2, 14, 32, 3)):
        with pytest.raises(ValueError, match="motion needs 2 frames of at least 15×15"):
            flow_length(np.zeros(shape, np.uint8))
