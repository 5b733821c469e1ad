"""What a clip looks like to the tokenizer, for every key that a task names."""

import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data import painting, structure, views
from videopoet_jax.data.moving_digits import render
from videopoet_jax.sequence import TASKS


@pytest.fixture(scope="module")
def example():
    clip = render("train", 2, 0)
    return {"video": clip.frames, "flow": clip.truth.flow(), "depth": clip.truth.depth()}


def test_every_key_of_every_task_is_a_view_or_the_sound():
    keys = {key for task in TASKS.values() for key in task.keys(sound=True)}
    assert keys == {*views.VIEWS, "audio"}


def test_shapes_and_what_is_kept(example):
    made = views.views_of(example, views.VIEWS, (0, 1))
    assert {key: view.shape for key, view in made.items()} == {
        key: (1 if key == "last_frame" else 17, 64, 64, 3) for key in views.VIEWS
    }
    assert_array_equal(made["video"], example["video"])
    assert_array_equal(made["last_frame"][0], example["video"][-1])
    for key in ("inpainting", "outpainting", "editing"):
        kept = (made[key] == example["video"]).all(axis=-1)
        assert 0 < kept.mean() < 1 and (made[key][~kept] == painting.FILL).all()
    assert_array_equal(made["structure"], structure.to_picture(example["flow"], example["depth"]))


def test_without_truth_the_flow_is_found(example):
    pytest.importorskip("cv2")
    made = views.views_of({"video": example["video"]}, ["structure"], (0,))["structure"]
    assert_array_equal(made[..., :2], structure.to_picture(structure.dis_flow(example["video"]), None)[..., :2])
    assert_array_equal(made[..., 2], 0)


def test_a_clip_has_the_same_hole_in_every_run_whatever_else_is_asked_for(example):
    one = views.views_of(example, ["inpainting"], (3, 7))["inpainting"]
    other = views.views_of(example, ["editing", "outpainting", "inpainting"], (3, 7))
    assert_array_equal(one, other["inpainting"])
    seen = {views.views_of(example, ["inpainting"], (3, i))["inpainting"].tobytes() for i in range(60)}
    assert len(seen) == len(painting.REGIONS)  # all of them are drawn


def test_names(example, monkeypatch):
    monkeypatch.setattr(views, "VIEWS", dict(views.VIEWS))

    def mirrored(example, rng):
        return example["video"][:, :, ::-1]

    views.register_view("mirrored", mirrored)
    views.register_view("mirrored", mirrored)  # twice is once
    assert_array_equal(views.views_of(example, ["mirrored"], (0,))["mirrored"][:, :, ::-1], example["video"])
    with pytest.raises(ValueError, match="view 'mirrored': another one has this key already"):
        views.register_view("mirrored", lambda example, rng: example["video"])
    with pytest.raises(ValueError, match="view 'smell': unknown; use video, last_frame"):
        views.views_of(example, ["smell"], (0,))
