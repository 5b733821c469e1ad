"""`videopoet data prepare` with RAFT's and DPT's weights, random ones as they are published."""

import json

import numpy as np
import pytest
import structure_twins as twins
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file
from twins.structure import foreign, transformers_json

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.data_worker import Worker, own_clips
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.tokenize_clips import TokenizeClips
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.data.structure import dis_flow, to_picture
from videopoet_jax.data.token_records import TokenSource, to_bytes
from videopoet_jax.data.views import views_of
from videopoet_jax.pretrained import digest, resolve
from videopoet_jax.structure import dpt, estimate, raft, weights

TASKS = 'data.tasks={"stylization": 1.0}'
DPT = {**dpt.LARGE, **twins.NARROW_DPT}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Four pairs, or eight pictures, at a time, and a flow that is corrected twice, not twenty times."""
    monkeypatch.setattr(estimate, "UPDATES", 2)
    monkeypatch.setattr(estimate, "BATCH_PIXELS", 4 * 128 * 128)
    monkeypatch.setattr(estimate, "DEPTH_BATCH_PIXELS", 8 * 64 * 64)


@pytest.fixture
def raft_small(tmp_path):
    """torchvision's raft_small, without a config as it is published; near zero, so that not all is as fast as can be"""
    folder = tmp_path / "raft"
    folder.mkdir()
    tensors = foreign(twins.drawn(twins.raft_init(raft.SMALL), 3), weights.TORCHVISION)
    tensors["update_block.flow_head.conv2.weight"] *= 0.02
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def dpt_narrow(tmp_path):
    folder = tmp_path / "dpt"
    folder.mkdir()
    params = twins.drawn(twins.dpt_init(DPT), 3)
    save_file(foreign(params, weights.TRANSFORMERS, DPT["patch"]), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(transformers_json(DPT)))
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    for number in range(3):
        write_video(root / f"{number}.mp4", render("train", 2, number, num_frames=5).frames, fps=8)
    return root


def prepare(films, out, *changes):
    settings = ["--models", str(resolve("nano")), "--batch-size", "2", "--shard-size", "2"]
    for change in ("data.source=folder", "data.silence=False", "data.num_frames=5", TASKS, *changes):
        settings += ["--set", change]
    main(["data", "prepare", "--config", "lm:nano", *settings, "--input", str(films), "--out", str(out)])
    return TokenSource(out)


def records(source):
    return {source[i]["id"]: source[i] for i in range(len(source))}


def test_networks_see_otherwise_than_dis_the_same_in_every_run_and_company(films, raft_small, dpt_narrow, tmp_path):
    pytest.importorskip("cv2")
    without = prepare(films, tmp_path / "without")
    assert without.meta["structure"] == {"flow": "", "depth": ""}
    named = (f"data.flow={raft_small}", f"data.depth={dpt_narrow}")
    one, other = (prepare(films, tmp_path / name, *named) for name in ("one", "other"))
    assert one.meta["structure"] == {"flow": digest(raft_small), "depth": digest(dpt_narrow)}
    alone = prepare(films / "1.mp4", tmp_path / "alone", *named)
    flow_alone = records(prepare(films, tmp_path / "flow", named[0]))
    made = [{key: to_bytes(record) for key, record in records(source).items()} for source in (one, other, alone)]
    assert made[0] == made[1] and len(made[0]) == 3
    (key,) = made[2]
    assert made[2][key] == made[0][key]
    for key, record in records(without).items():
        assert_array_equal(record["video"], records(one)[key]["video"])
        for found in (records(one)[key], flow_alone[key]):
            assert (record["structure"] != found["structure"]).mean() > 0.2
        assert (flow_alone[key]["structure"] != records(one)[key]["structure"]).mean() > 0.2
    # Records to measure by must have been seen by the same networks.
    settings = (f"data.records={one.directory}", f"data.held_out={without.directory}", TASKS, "data.source=folder")
    with pytest.raises(ValueError, match="made with structure {'flow': '', 'depth': ''}"):
        recipe_for(load_config("lm:nano", settings), tmp_path)


def test_going_on_with_other_weights_is_refused(films, raft_small, tmp_path, monkeypatch, capsys):
    real = Worker.__call__

    def stopped(self, number):
        if number:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(Worker, "__call__", stopped)
    with pytest.raises(SystemExit):
        prepare(films, tmp_path / "records", f"data.flow={raft_small}")
    tensors = load_file(raft_small / "model.safetensors")
    tensors["update_block.flow_head.conv2.bias"] += 1
    save_file(tensors, raft_small / "model.safetensors")
    with pytest.raises(SystemExit):
        prepare(films, tmp_path / "records", f"data.flow={raft_small}")
    assert "begun with another structure" in capsys.readouterr().err


def test_a_wrong_directory_is_told_before_any_work(films, raft_small, dpt_narrow, tmp_path, capsys):
    for change, words in (
        (f"data.flow={tmp_path / 'nowhere'}", "nowhere: no such directory"),
        (f"data.flow={dpt_narrow}", "model_type is 'dpt', 'videopoet_flow' is needed"),
        (f"data.depth={raft_small}", "raft'"),
    ):
        with pytest.raises(SystemExit) as leave:
            prepare(films, tmp_path / "records", change)
        error = capsys.readouterr().err
        assert leave.value.code == 2 and words in error and error.count("\n") == 1
        assert not (tmp_path / "records").exists()
    # Where no task reads structure, nobody asks for the networks.
    changes = ["--set", 'data.tasks={"text_to_video": 1.0}', "--set", f"data.flow={tmp_path / 'nowhere'}"]
    options = ["--models", str(resolve("nano")), "--clips", "2", "--out", str(tmp_path / "records"), "--dry-run"]
    main(["data", "prepare", "--config", "lm:nano", *changes, *options])


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_moving_digits_knows_is_shown_of_whole_pictures_alone(split):
    pytest.importorskip("cv2")
    job = {"split": split, "count": 2}
    whole = own_clips(job, load_config("lm:nano", (TASKS,)))[0]
    assert_array_equal(views_of(whole, ["structure"], (0,))["structure"], to_picture(whole["flow"], whole["depth"]))
    part = own_clips(job, load_config("lm:nano", (TASKS, "data.zoom=1.5", "data.mirror=True")))[0]
    assert part["video"].shape == (17, 64, 64, 3)
    seen = views_of(part, ["structure"], (0,))["structure"]
    assert_array_equal(seen, to_picture(dis_flow(np.asarray(part["video"])), None))


def test_networks_that_are_named_go_before_what_is_known(raft_small):
    config = load_config("lm:nano", (TASKS, "data.num_frames=5"))
    clip = own_clips({"split": "train", "count": 1}, config)[0]
    codes = {}
    for named in ("", str(raft_small)):
        tokenize = TokenizeClips(resolve("nano"), 2, config.data, ["structure"], 0, {"flow": named, "depth": ""})
        codes[named] = tokenize([clip])[0]["structure"]
    assert (codes[""] != codes[str(raft_small)]).mean() > 0.2
