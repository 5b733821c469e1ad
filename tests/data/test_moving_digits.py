"""The world of moving digits: what is drawn, where it is, and that the truth about it is true."""

import zlib

import numpy as np
import pytest

from videopoet_jax.data import moving_digits as world
from videopoet_jax.data.moving_digits_render import digit_images
from videopoet_jax.data.moving_digits_scene import BACKGROUNDS, TEMPLATE_CHOICES, caption, draw, split_images
from videopoet_jax.data.moving_digits_truth import Path

SOME = range(12)
UNSEEN = 4  # of 255: the bicubic kernel rings that far beyond the ink, where rows and columns both overshoot


def ends(clip):
    return clip.truth.positions[-1] - clip.truth.positions[0]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_same_arguments_same_clip(level):
    one, two = (world.render("train", level, 5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.audio, two.audio)
    assert one.truth.caption == two.truth.caption
    for other in (world.render("train", level, 6, seed=3), world.render("train", level, 5, seed=4)):
        assert (other.frames != one.frames).any()


def test_drawing_leaves_the_global_random_state_alone():
    np.random.seed(7)
    before = world.render("train", 3, 1).frames
    np.random.seed(8)
    np.testing.assert_array_equal(world.render("train", 3, 1).frames, before)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_shapes_and_ranges(level):
    clip = world.render("validation", level, 0, num_frames=5, height=48, width=80)
    assert clip.frames.shape == (5, 48, 80, 3) and clip.frames.dtype == np.uint8
    assert clip.audio.shape == (10_000,) and clip.audio.dtype == np.float32
    assert np.abs(clip.audio).max() <= 1


def test_level_1_travels_and_never_touches_a_wall():
    for index in range(60):
        clip = world.render("train", 1, index)
        travelled = ends(clip)
        assert 24 <= np.abs(travelled).max() <= 30 and np.abs(travelled).min() == 0
        np.testing.assert_allclose(np.diff(clip.truth.positions, axis=0) - clip.truth.velocities[0], 0, atol=1e-9)
        border = [clip.frames[:, [0, -1]], clip.frames[:, :, [0, -1]]]
        assert max(b.max() for b in border) <= UNSEEN and clip.truth.bounces.size == 0


@pytest.mark.parametrize("num_frames,height,width", [(1, 64, 64), (5, 64, 64), (41, 64, 64), (17, 224, 128)])
def test_level_1_fits_at_every_size_and_length(num_frames, height, width):
    for index in SOME:
        clip = world.render("train", 1, index, num_frames=num_frames, height=height, width=width)
        assert clip.frames[:, [0, -1]].max() <= UNSEEN and clip.frames[:, :, [0, -1]].max() <= UNSEEN
        assert clip.frames.max((1, 2, 3)).min() > 100


def test_directions_are_what_they_say():
    signs = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for direction, sign in signs.items():
        clip = world.render_prompt("red", 4, direction, split="train")
        np.testing.assert_array_equal(np.sign(ends(clip)), sign)
        assert clip.truth.caption == f"a red 4 moving {direction}"


def test_the_held_out_triples_are_those_of_the_checksum():
    def told(t):
        return zlib.crc32(f"{t.colour} {t.digit} {t.direction}".encode()) % 5 == 0

    assert len(world.TRIPLES) == 280 and len(world.HELD_OUT) == len(set(world.HELD_OUT)) == 52
    assert all(told(t) and world.held_out(*t) for t in world.HELD_OUT)
    assert not any(told(t) for t in world.SEEN) and set(world.SEEN) | set(world.HELD_OUT) == set(world.TRIPLES)
    for field, kinds in zip(("colour", "digit", "direction"), (7, 10, 4), strict=True):
        assert len({getattr(t, field) for t in world.HELD_OUT}) == kinds


@pytest.mark.parametrize("level", [1, 2, 3])
def test_splits_share_no_scan_and_no_triple(level):
    residues = {"train": range(7), "validation": [7], "test": [8, 9]}
    for split, allowed in residues.items():
        for index in range(60):
            for actor in draw(split, level, index, seed=0).actors:
                assert actor.image_index % 10 in allowed
                assert digit_images()[1][actor.image_index] == actor.triple.digit
                assert world.held_out(*actor.triple) == (split == "test")
    counts = [sum(split_images(split, d).size for d in range(10)) for split in residues]
    assert sum(counts) == 1797 and min(counts) > 150


def test_208_test_clips_are_every_held_out_triple_four_times():
    shown = [draw("test", 1, index, 0).actors[0].triple for index in range(208)]
    assert all(shown.count(t) == 4 for t in world.HELD_OUT)


def test_a_scene_is_the_same_at_every_size_and_length():
    small, large = (world.render("train", 1, 3, height=s, width=s) for s in (64, 128))
    np.testing.assert_allclose((small.truth.positions + 0.5) * 2, large.truth.positions + 0.5)
    shrunk = large.frames.reshape(17, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(shrunk - small.frames).mean() < 1.0
    np.testing.assert_array_equal(world.render("train", 1, 3, num_frames=5).frames, small.frames[:5])


def test_positions_are_where_the_ink_is():
    clip = world.render("train", 1, 2)
    scan = digit_images()[0][clip.truth.image_index]
    light = clip.frames.max(-1).astype(float)
    grid = np.arange(64)
    centre = np.stack([light.sum(1) @ grid, light.sum(2) @ grid], -1) / light.sum((1, 2))[:, None]
    off = np.array([scan.sum(0) @ (np.arange(8) - 3.5), scan.sum(1) @ (np.arange(8) - 3.5)]) / scan.sum() * 3.5
    np.testing.assert_allclose(centre - clip.truth.positions, np.broadcast_to(off, (17, 2)), atol=0.6)
    # moved exactly alike, to a small part of a pixel
    np.testing.assert_allclose(np.diff(centre, axis=0), np.diff(clip.truth.positions, axis=0), atol=0.05)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_flow_says_where_each_point_of_a_digit_goes(level):
    for index in range(4):
        truth = world.render("train", level, index, num_frames=9).truth
        flow, order = truth.flow(), truth.order()
        for number, digit in enumerate(truth.digits, start=1):
            for t in range(8):
                moved = flow[t][order[t] == number]
                if len(moved):
                    np.testing.assert_allclose(moved.mean(0), digit.positions[t + 1] - digit.positions[t], atol=1e-4)
            last = flow[8][order[8] == number]  # no wall behind the clip's end turns it round
            np.testing.assert_array_equal(last, np.broadcast_to(np.float32(digit.displacements[7]), last.shape))
        behind = flow[order == 0]
        np.testing.assert_allclose(behind, np.broadcast_to(np.float32(truth.pan), behind.shape))
        np.testing.assert_array_equal(truth.masks(), order > 0)


def test_a_picture_alone_does_not_move():
    assert not world.render("train", 3, 1, num_frames=1).truth.flow().any()


def test_flow_warps_one_frame_into_the_next():
    """Panning camera, no bounce: the background of frame t+1, looked up along the flow, is frame t."""
    index = next(i for i in range(50) if draw("train", 3, i, 0).camera == "right")
    clip = world.render("train", 3, index, num_frames=3, height=64, width=64)
    dx = clip.truth.pan[0]
    assert dx < 0 and clip.truth.pan[1] == 0
    empty = ~clip.truth.masks()[:2].any(0)
    now, after = (clip.frames[t].astype(float) for t in (0, 1))
    columns = np.arange(8, 56)
    low, part = np.floor(columns + dx).astype(int), (columns + dx) % 1
    warped = after[:, low] * (1 - part)[:, None] + after[:, low + 1] * part[:, None]
    clear = empty[:, columns] & empty[:, low] & empty[:, low + 1]
    still = np.abs(now - after)[:, columns][clear].mean()
    assert np.abs(now[:, columns] - warped)[clear].mean() < 0.6 * still


def test_the_first_named_is_in_front():
    for index in range(40):
        truth = world.render("train", 3, index, num_frames=5).truth
        if len(truth.digits) < 2:
            continue
        front, behind = (d.coverage() > 0.5 for d in truth.digits)
        assert truth.caption.index(truth.digits[0].colour) < truth.caption.index(truth.digits[1].colour)
        assert truth.digits[0].digit != truth.digits[1].digit and truth.digits[0].colour != truth.digits[1].colour
        np.testing.assert_array_equal(truth.order() == 1, front)
        np.testing.assert_array_equal(truth.order() == 2, behind & ~front)
        assert truth.depth()[front].min() > truth.depth()[behind & ~front].max(initial=0)


def test_walls_reflect():
    path = Path(start=10.0, step=3.0, low=4.0, high=20.0)
    frames = np.arange(0, 40, 0.01)
    places, speeds = path.at(frames), path.velocity(frames)
    assert places.min() >= 4 and places.max() <= 20
    np.testing.assert_allclose(np.abs(np.diff(places) / 0.01)[np.diff(speeds) == 0], 3.0, atol=1e-6)
    turns = frames[1:][np.diff(np.sign(speeds)) != 0]
    np.testing.assert_allclose(path.bounces(40), turns, atol=0.011)
    np.testing.assert_allclose(np.diff(path.bounces(40)), 16 / 3)


def test_long_clips_stay_between_the_walls():
    clip = world.render("train", 2, 8, num_frames=81)
    positions = clip.truth.positions
    assert positions.min() > 0 and positions.max() < 63
    assert clip.truth.bounces.size >= 2 and clip.truth.bounces[0] >= 0.5 and clip.truth.bounces[-1] < 81 / 8


def test_captions_name_everything_that_is_seen():
    for split in ("train", "test"):
        for index in range(80):
            scene = draw(split, 3, index, 0)
            text = caption(scene)
            for actor in scene.actors:
                assert actor.triple.colour in text and actor.triple.direction in text
                assert actor.size in text and actor.speed in text
            assert f"{scene.background} picture" in text
            assert ("camera pans" in text) == (scene.camera is not None)
            assert (" and " in text.replace("picture and", "")) == (len(scene.actors) == 2)


def test_some_templates_are_kept_for_the_test():
    def seen(split):
        return {draw(split, 2, i, 0).template for i in range(120)}

    assert seen("train") == set(TEMPLATE_CHOICES["train"]) and seen("test") == set(TEMPLATE_CHOICES["test"])
    assert seen("test") - seen("train")


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_background_is_in_the_wheels(name):
    from videopoet_jax.data.moving_digits_backgrounds import slide

    frames = slide(name, (0.5, 0.5, 0.5), (1.0, 0.0), 3, 64, 64)
    assert frames.shape == (3, 64, 64, 3) and frames.std() > 2 and (frames[0] != frames[1]).any()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="colours are red"):
        world.render_prompt("brown", 3, "left")
    with pytest.raises(ValueError, match="level 4"):
        world.render("train", 4, 0)
    with pytest.raises(ValueError, match="split 'dev'"):
        world.render("dev", 1, 0)
    with pytest.raises(ValueError, match="0 frames"):
        world.render("train", 1, 0, num_frames=0)
