"""What the benchmark of training prints of times that are given to it, and that its twin computes what ours does."""

import json
from types import SimpleNamespace

import contest
import numpy as np
import pytest
import train
import train_task
from train_task import Task

NANO = Task("nano", 32, "none", "float32")


def test_a_task_is_what_is_written():
    assert Task.parse(str(NANO)) == NANO
    chosen = train_task.choices(Task("300m", 0, "", "bfloat16"))
    assert str(chosen[0]) == "300m:16:none:bfloat16" and len(chosen) > 1
    assert train_task.choices(NANO) == [NANO]


def test_the_batch_is_that_of_the_config():
    config = train_task.config_of(NANO)
    layout = train_task.layout_of(config)
    batch = train_task.batch_of(config, layout, NANO.rows, captions=(4, 16))
    assert layout.task.name == "text_to_video" and batch["ids"].shape == (32, layout.length)
    assert batch["weights"].sum() == 32 * (layout.length - layout.prefix_length)
    assert batch["valid"].sum(1).min() < layout.length and config.train.optimizer == "adamw"
    full = train_task.batch_of(config, layout, 2, captions=(16, 16))
    assert full["valid"].all()


def test_a_start_depends_on_the_name_alone():
    one, same, other = (
        train_task.draw(name, (2, 8, 4)) for name in ("layers.mlp.up", "layers.mlp.up", "layers.mlp.down")
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert one.std() == pytest.approx(8**-0.5, rel=0.2)
    assert train_task.draw("norm.scale", (64,)).mean() == pytest.approx(1, abs=0.1)


def raced(seconds, losses=(5.0, 4.0, 3.0), peer_losses=(5.0, 4.0, 3.0), task=NANO):
    """A contest of which the times and the losses are known."""

    def contest_of(script, case, sides, rounds, settings=None):
        told = {"ours": {"losses": losses, "task": str(task)}, train.TWIN: {"losses": peer_losses, "remat": False}}
        return {
            side: SimpleNamespace(
                name=f"{case}, {side}", side=side, seconds=seconds[side], median=float(np.median(seconds[side])),
                cpu_median=1.0, peak_mb=1024.0, told=told[side],
            )
            for side in sides
        }  # fmt: skip

    return contest_of


def test_on_a_cpu_the_ratio_is_the_median_of_the_turns(monkeypatch, capsys):
    monkeypatch.setattr(contest, "contest", raced({"ours": [1.0, 1.0, 4.0], train.TWIN: [2.0, 1.5, 4.0]}))
    train.compare(NANO, None)
    result = json.loads(capsys.readouterr().out)
    assert (result["ratio"], result["ratios"], result["goal"], result["unit"]) == (1.5, [1.0, 2.0], 1.0, "s")
    assert result["rows"] == 32 and result["tokens"] == 32 * 213 and result["tokens_per_second"] == 32 * 213


def test_on_a_gpu_it_prints_the_share_of_the_chips_rate(monkeypatch, capsys):
    chosen = Task("tiny", 2, "dots", "bfloat16")
    needed = train.flops(chosen)
    seconds = needed.dense / 989.5e12
    times = {"ours": [2 * seconds] * 3, train.TWIN: [3 * seconds] * 3}
    monkeypatch.setattr(contest, "contest", raced(times, task=chosen))
    train.compare(Task("tiny", 0, "", "bfloat16"), "NVIDIA H200")
    mfu, peer = map(json.loads, capsys.readouterr().out.splitlines())
    assert (mfu["ratio"], mfu["goal"], mfu["rows"], mfu["remat"]) == (0.5, 0.5, 2, "dots")
    assert mfu["mfu_seen_pairs"] == pytest.approx(0.5 * needed.exact / needed.dense, abs=1e-3)
    assert (peer["ratio"], peer["goal"]) == (1.5, 1.1)
    train.compare(Task("tiny", 0, "", "bfloat16"), "another chip")
    assert json.loads(capsys.readouterr().out.splitlines()[0])["ratio"] is None


def test_other_losses_are_no_contest(monkeypatch):
    seconds = {"ours": [1.0], train.TWIN: [1.0]}
    monkeypatch.setattr(contest, "contest", raced(seconds, peer_losses=(5.0, 4.0, 3.01)))
    with pytest.raises(contest.Failed, match="not equal to 0.001"):
        train.compare(NANO, None)


@pytest.mark.parametrize("shape", ["tiny", "nano"])
def test_the_twin_takes_our_steps(shape):
    """Three steps of both: forward, backward and optimizer, with a mask and without; the twin is not compiled here."""
    torch = pytest.importorskip("torch")
    import train_sides

    task = Task(shape, 2, "none", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda module, **options: module)
        peer = train_sides.twin_side(task)()
    np.testing.assert_allclose(train_sides.our_side(task)()["losses"], peer["losses"], rtol=1e-4)
    assert peer["losses"][0] > peer["losses"][2]  # it learns
