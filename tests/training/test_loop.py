"""One loop: it learns, logs, resumes bit for bit, compiles each shape once, and never saves what is not finite."""

import json
import os
import re
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import Points, assert_same_bits, loader, loss_fn, new_state, train

from videopoet_jax.data.loader import Part, Stream, mixture
from videopoet_jax.layers.objective import FROZEN, Aux
from videopoet_jax.parallel import make_mesh, replicated
from videopoet_jax.training.agreement import changes, plain
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.loop import to_devices
from videopoet_jax.training.meter import Work
from videopoet_jax.training.nonfinite import NonFinite
from videopoet_jax.training.profile import parse_steps


def lines(workdir, speed=False):
    """What was logged; how fast it went is another thing each time."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return rows if speed else [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in rows]


def test_two_steps_change_every_parameter(tmp_path):
    one, two = train(tmp_path / "a", 1), train(tmp_path / "b", 2)
    assert int(two.step) == 2 and int(two.extra["calls"]) == 2
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        assert np.all(np.isfinite(b)) and not np.array_equal(a, b)


def test_it_learns_and_tells(tmp_path, capsys):
    train(tmp_path, 60, log_every=20)
    log = lines(tmp_path)
    assert [row["step"] for row in log] == [20, 40, 60]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert set(log[0]) == {"step", "loss", "grad_norm", "noise"}
    told = capsys.readouterr().err
    assert told.count("compiling, once") == 1
    assert re.search(r"step 40/60 · loss \S+ · \S+ (steps/s|s/step) · .* left", told)
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(("stop", "update"), [(4, "adamw"), (6, "adamw"), (6, "muon")])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(tmp_path, capsys, stop, update):
    whole = train(tmp_path / "whole", 12, update=update)
    train(tmp_path / "parts", stop, config={"steps": stop}, update=update)
    resumed = train(tmp_path / "parts", 12, config={"steps": 12}, update=update)
    assert_same_bits(whole, resumed)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    told = capsys.readouterr().err
    assert f"resuming after step {stop} from" in told and f"config.steps: {stop} → 12" in told


def test_a_checkpoint_is_the_state_although_the_next_step_reuses_its_memory(tmp_path):
    states = {}

    def remember(state):
        states[int(state.step)] = jax.tree.map(jnp.copy, state)
        return {}

    train(tmp_path, 8, checkpoint_every=1, max_to_keep=8, evaluate_every=1, evaluate=remember)
    with Checkpoints(tmp_path, max_to_keep=8) as checkpoints:
        for step, state in states.items():
            assert_same_bits(checkpoints.restore(state, step).state, state)


def test_a_frozen_network_is_that_of_the_run_and_not_of_the_checkpoint(tmp_path):
    mesh = make_mesh(fsdp=2, tensor=1, data=-1)

    def pulled(params, extra, batch, keys):
        loss, aux = loss_fn(params, extra, batch, keys)
        pull = jnp.sum(extra[FROZEN]["target"])
        return loss, Aux({"pull": pull}, {**extra, **aux.extra})

    def run(steps, target):
        state = new_state(mesh)
        network = {"target": jax.device_put(np.full(3, target), replicated(mesh))}
        state = state.replace(extra={**state.extra, FROZEN: network})
        return train(tmp_path, steps, state=state, mesh=mesh, loss_fn=pulled, log_every=1)

    run(4, 1.0)
    state = run(6, 2.0)
    assert np.asarray(state.extra[FROZEN]["target"]).tolist() == [2, 2, 2] and int(state.extra["calls"]) == 6
    assert [row["pull"] for row in lines(tmp_path)] == [3, 3, 3, 3, 6, 6]
    manifests = [json.loads(file.read_text()) for file in (tmp_path / "checkpoints").glob("*/manifest.json")]
    assert manifests and not [name for m in manifests for name in m["arrays"] if "target" in name]


def test_speed_padding_and_memory_are_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("videopoet_jax.training.meter.peak_of", lambda kind: 1e6)  # of each of 8 devices
    monkeypatch.setattr("videopoet_jax.training.meter.memory", lambda: {"memory/peak_gib": 1.5})
    begun = time.perf_counter()

    def work(rows):
        assert rows["x"].shape == (8, 4)
        return Work(tokens=30, padding=2, flops=1000)

    train(tmp_path, 6, work=work, log_every=3, evaluate_every=5, evaluate=lambda state: time.sleep(0.3) or {})
    first, last = (row for row in lines(tmp_path, speed=True) if "loss" in row)
    assert first["padding"] == last["padding"] == 2 / 32 and last["memory/peak_gib"] == 1.5
    steps = last["speed/steps_per_second"]
    assert 3 / (time.perf_counter() - begun) < steps
    assert last["speed/tokens_per_second"] == pytest.approx(30 * steps)
    assert last["speed/mfu"] == pytest.approx(1000 * steps / 8e6)


def test_steps_are_traced_that_were_named_or_asked_for(tmp_path, capsys):
    def ask(state):
        if int(state.step) == 4:
            os.kill(os.getpid(), signal.SIGUSR1)
        return {}

    before = signal.getsignal(signal.SIGUSR1)
    train(tmp_path, 7, profile=range(2, 4), evaluate_every=1, evaluate=ask)
    assert capsys.readouterr().err.count("traced, into") == 2 and signal.getsignal(signal.SIGUSR1) == before
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 2


@pytest.mark.parametrize("text", ["5", "5:5", "0:3", "a:b", "-1:3"])
def test_steps_to_trace_are_a_range(text):
    with pytest.raises(ValueError, match="FIRST:END is needed"):
        parse_steps(text)
    assert parse_steps("2:4") == range(2, 4)


def test_a_finished_run_returns_its_state_without_a_step(tmp_path):
    done = train(tmp_path, 4)
    again = train(tmp_path, 4, train_step=lambda state, batch: 1 / 0)
    assert_same_bits(done, again)


def test_batches_of_two_shapes_are_compiled_once_each_and_resume(tmp_path, capsys):
    def batches():
        return mixture([Part([Stream(Points())], 1, 8), Part([Stream(Points())], 1, 16)], seed=3)

    whole = train(tmp_path / "whole", 8, batches=batches(), log_every=1)
    told = capsys.readouterr().err
    assert told.count("compiling, once") == 2
    assert max(told.index(words) for words in ("x [8, 4] …", "x [16, 4] …")) < told.index("step 1/8")
    train(tmp_path / "parts", 5, batches=batches())
    assert_same_bits(whole, train(tmp_path / "parts", 8, batches=batches()))


def test_evaluation_is_stored_every_so_often_and_at_the_end(tmp_path):
    train(tmp_path, 7, evaluate_every=3, evaluate=lambda state: {"step": float(state.step)})
    assert [row["eval/step"] for row in lines(tmp_path) if "eval/step" in row] == [3, 6, 7]


def test_a_step_that_is_not_finite_stops_the_run_names_its_examples_and_saves_nothing(tmp_path):
    order = [batch["example"].tolist() for batch in (loader()[n] for n in range(8))]
    broken = order[5][3]  # comes in step 6
    with pytest.raises(NonFinite, match=rf"step 6: loss nan.*{broken}.*must be finite"):
        train(tmp_path, 8, batches=loader(source=Points(broken=(broken,))), checkpoint_every=2)
    with Checkpoints(tmp_path, max_to_keep=2) as checkpoints:
        assert checkpoints.latest() == 4


def fresh(indices, **kwargs):
    """Batches whose examples at these places of the run are NaN."""
    order = [batch["example"].tolist() for batch in (loader()[n] for n in range(8))]
    return loader(source=Points(broken=[order[place][3] for place in indices]), **kwargs)


def test_a_step_that_is_not_finite_is_skipped_when_told_to(tmp_path, capsys):
    """It changes nothing but the count of steps: no moment, no average, no variable."""
    whole = train(tmp_path / "whole", 8, batches=fresh([5]), non_finite="skip", checkpoint_every=2)
    assert "skipped, 1 of 10 at most: step 6: loss nan" in capsys.readouterr().err
    assert int(whole.step) == 8 and int(whole.extra["calls"]) == 7
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((whole.params, whole.opt_state)))
    train(tmp_path / "parts", 6, batches=fresh([5]), non_finite="skip", checkpoint_every=2)
    assert_same_bits(whole, train(tmp_path / "parts", 8, batches=fresh([5]), non_finite="skip", checkpoint_every=2))


def test_a_run_rolls_back_and_passes_over_what_it_read_when_told_to(tmp_path, capsys):
    seen = []

    class Noted:
        def __init__(self, batches):
            self._batches = batches
            self.get_state, self.set_state, self.ahead = batches.get_state, batches.set_state, batches.ahead

        def __next__(self):
            seen.append(self.get_state()["next_batch"])
            return next(self._batches)

    state = train(tmp_path, 7, batches=Noted(fresh([5])), non_finite="roll-back", checkpoint_every=2, log_every=1)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # step 6 was batch 5; after the checkpoint of step 4 came batch 6
    told = capsys.readouterr().err
    assert "rolled back, 1 of 10 times at most: step 6: loss nan" in told and "resuming after step 4" in told
    assert int(state.step) == 7 and [row["step"] for row in lines(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_that_has_saved_nothing_cannot_roll_back(tmp_path):
    with pytest.raises(NonFinite, match="step 2"):
        train(tmp_path, 8, batches=fresh([1]), non_finite="roll-back")


def test_metrics_of_a_line_cut_short_by_a_kill_are_dropped(tmp_path):
    train(tmp_path, 4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    train(tmp_path, 6)
    assert [row["step"] for row in lines(tmp_path)] == [2, 4, 6]


def test_other_data_is_refused_when_resuming(tmp_path):
    train(tmp_path, 4)
    with pytest.raises(ValueError, match="must be the same to go on"):
        train(tmp_path, 8, batches=loader(source=Points(63)))


def test_data_that_ends_is_named(tmp_path):
    with pytest.raises(ValueError, match="ended before step 9"):
        train(tmp_path, 20, batches=loader(num_epochs=1))


def test_rows_are_split_over_data_and_fsdp():
    mesh = make_mesh(fsdp=2, tensor=2)
    batch = to_devices({"x": np.arange(24).reshape(8, 3)}, mesh)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(2, 3)}
    np.testing.assert_array_equal(batch["x"], np.arange(24).reshape(8, 3))


@pytest.mark.parametrize("rows", [np.zeros((6, 2)), np.zeros(()), np.zeros((0, 2))])
def test_rows_that_do_not_divide_are_named(rows):
    with pytest.raises(ValueError, match=r"batch\['clip'\].*do not divide over 8 devices.*multiple of 8"):
        to_devices({"clip": rows}, make_mesh())


def test_changes_between_configs_are_listed():
    assert changes({"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [2]}, "d": 0}) == [
        "config.b.c: [1] → [2]",
        "config.d: None → 0",
    ]
    assert plain({"strides": (2, 2)}) == {"strides": [2, 2]}
