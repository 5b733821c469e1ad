"""LPIPS of videos: any number of frames in batches of one size, whose weights are an argument of the program."""

import jax
import numpy as np
import pytest

from videopoet_jax.evaluate.lpips import load_perceptual


@pytest.fixture
def perceptual(tmp_path, monkeypatch):
    """A network whose only weight is 2; it is compiled once, for 16 pictures, and does not know its weight."""
    traced = []

    class Fake:
        def apply(self, variables, a, b):
            assert isinstance(variables["params"]["weight"], jax.core.Tracer)
            traced.append(a.shape)
            return variables["params"]["weight"] * abs(a - b).mean(axis=(1, 2, 3))

    monkeypatch.setattr(
        "videopoet_jax.layers.lpips.load_lpips", lambda directory: (Fake(), {"weight": np.float32(2.0)})
    )
    (tmp_path / "lpips_alexnet").mkdir()
    (tmp_path / "lpips_alexnet" / "config.json").touch()
    yield load_perceptual(tmp_path)
    assert traced == [(16, 8, 8, 3)]


def test_every_picture_has_its_distance_whatever_their_number(perceptual):
    one, other = np.random.default_rng(0).integers(0, 256, (2, 21, 8, 8, 3), np.uint8)
    expected = 2 * np.abs(one.astype(float) - other).mean((1, 2, 3)) / 127.5
    np.testing.assert_allclose(perceptual(one, other), expected, rtol=1e-5)
    clips = [video[:20].reshape(4, 5, 8, 8, 3) for video in (one, other)]
    np.testing.assert_array_equal(perceptual(*clips), perceptual(one, other)[:20].reshape(4, 5))
    np.testing.assert_allclose(perceptual(one[:3], one[:3]), 0, atol=1e-6)


def test_a_folder_without_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no lpips_alexnet in it; fetch it with ./launch/fetch_weights.sh"):
        load_perceptual(tmp_path)
