"""Flow and depth of whole clips: sizes, ends, batches, ranges."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.data import moving_digits
from videopoet_jax.structure import Depth, Flow, estimate


@pytest.fixture(scope="module")
def video():
    return moving_digits.render("train", 2, 0, num_frames=5, height=64, width=64).frames


@pytest.fixture(scope="module")
def flow(drawn):
    fields, _, params = drawn["raft"]
    return Flow(fields, params)


@pytest.fixture(scope="module")
def depth(drawn):
    fields, _, params = drawn["dpt"]
    return Depth(fields, params)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Four pairs, two pictures; and a flow that is corrected twice, not twenty times."""
    monkeypatch.setattr(estimate, "UPDATES", 2)
    monkeypatch.setattr(estimate, "BATCH_PIXELS", 4 * 128 * 128)
    monkeypatch.setattr(estimate, "DEPTH_BATCH_PIXELS", 2 * 64 * 64)


def test_flow_of_a_clip(flow, video, monkeypatch):
    found = flow(video)
    assert found.shape == (5, 64, 64, 2) and found.dtype == np.float32 and np.isfinite(found).all()
    assert_array_equal(found[4], found[3])
    assert np.abs(found[3] - found[0]).max() > 0.1
    # A frame gives the same numbers in every clip, and its own pair alone decides them.
    assert_array_equal(flow(video[2:4])[0], found[2])
    monkeypatch.setattr(estimate, "BATCH_PIXELS", 3 * 128 * 128)  # four pairs in two batches
    assert_allclose(flow(video), found, atol=1e-3)
    assert_array_equal(flow(video[:1]), np.zeros((1, 64, 64, 2)))


def test_flow_of_any_size_is_that_of_the_padded_picture(flow, video):
    """50×39 and the same with its borders repeated: 39 rows and 45 columns before, 39 and 44 behind make 128×128."""
    clip = video[:2, :50, :39]
    found = flow(clip)
    assert found.shape == (2, 50, 39, 2)
    around = np.pad(clip, ((0, 0), (39, 39), (44, 45), (0, 0)), mode="edge")
    assert_array_equal(found, flow(around)[:, 39:-39, 44:-45])


def test_flow_is_from_each_frame_to_the_next(flow, video):
    """What the network gives for frames 1 and 2, in this order, is what the clip's frame 1 gets."""
    first, second = (np.pad(x[None], ((0, 0), (32, 32), (32, 32), (0, 0)), mode="edge") for x in video[1:3])
    first, second = (x / np.float32(127.5) - 1 for x in (first, second))
    apply = jax.jit(flow.model.apply, static_argnums=3)
    there, back = (apply({"params": flow.params}, *pair, 2) for pair in ((first, second), (second, first)))
    found = flow(video)[1]
    assert_allclose(there[0, 32:-32, 32:-32], found, atol=1e-3)
    assert np.abs(back[0, 32:-32, 32:-32] - found).max() > 0.1


@pytest.mark.parametrize("name", ["raft", "raft_small"])
def test_flow_is_in_pixels_of_the_clip_x_before_y(drawn, video, name):
    """A network that corrects the flow by the same in every update: an eighth of a pixel is a feature's pixel."""
    fields, _, params = drawn[name]
    head = {"kernel": 0 * params["update"]["head2"]["kernel"], "bias": np.float32([1, -2]) / 8 / estimate.UPDATES}
    found = Flow(fields, {**params, "update": {**params["update"], "head2": head}})(video)
    assert_allclose(found, np.broadcast_to([1.0, -2.0], found.shape), atol=1e-5)


def test_clips_that_have_no_flow(flow):
    with pytest.raises(ValueError, match="at least one frame"):
        flow(np.zeros((0, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1080×1920 frames.*at most 942,080 pixels fit"):
        flow(np.zeros((2, 1080, 1920, 3), np.uint8))


def test_depth_of_a_clip(depth, video, monkeypatch):
    near = depth(video)
    assert near.shape == (5, 64, 64) and near.dtype == np.float32
    assert near.min() == 0 and near.max() == 1
    assert near.std() > 0.02
    monkeypatch.setattr(estimate, "DEPTH_BATCH_PIXELS", 3 * 64 * 64)
    assert_allclose(depth(video), near, atol=1e-4)
    assert_array_equal(depth(video[:1].repeat(2, axis=0))[0], depth(video[:1])[0])


def test_depth_by_dpt_hybrid_at_another_size(drawn, video):
    fields, _, params = drawn["hybrid"]
    near = Depth(fields, params)(video[:1, :30, :47])
    assert near.shape == (1, 30, 47) and near.min() == 0 and near.max() == 1


def test_depth_without_depth(drawn):
    """A network that gives one value everywhere: all are as far."""
    fields, _, params = drawn["dpt"]
    flat = {**params, "head3": {"kernel": 0 * params["head3"]["kernel"], "bias": params["head3"]["bias"]}}
    assert_array_equal(Depth(fields, flat)(np.zeros((2, 64, 64, 3), np.uint8)), np.zeros((2, 64, 64)))
    with pytest.raises(ValueError, match="64×400 frames: no side may be over 4 times the other"):
        Depth(fields, flat)(np.zeros((1, 64, 400, 3), np.uint8))


@pytest.mark.parametrize(
    "shown, worked",
    [((128, 224), (224, 384)), ((480, 854), (384, 672)), ((720, 1280), (384, 672)), ((9, 9), (384, 384))],
)
def test_sizes_that_dpt_works_at(shown, worked):
    assert estimate.working_size(*shown, 384, 32) == worked
    assert estimate.working_size(*shown[::-1], 384, 32) == worked[::-1]
