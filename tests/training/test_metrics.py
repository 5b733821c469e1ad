"""Progress in words, means over windows, and files that a resumed run continues."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from videopoet_jax.layers.objective import Mean
from videopoet_jax.training.metrics import Reporter, Window, duration, keep_until, speed
from videopoet_jax.training.nonfinite import MOST, SKIPPED, NonFinite


def test_durations_and_speeds_are_words():
    words = {0.0: "0 s", 42.0: "42 s", 600.0: "10 min", 5940.0: "99 min", 7500.0: "2 h 05 min"}
    assert {seconds: duration(seconds) for seconds in words} == words
    assert [speed(s) for s in (0.5, 2.1)] == ["2.00 steps/s", "2.10 s/step"]


def test_a_window_is_the_mean_since_the_last_one():
    window = Window(2)
    for step in range(1, 5):
        window.add(step, {}, {"loss": jnp.float32(step)})
    assert window.take() == {"loss": 2.5}
    window.add(5, {}, {"loss": jnp.float32(9)})
    assert window.take() == {"loss": 9.0}
    assert window.take() == {}


def test_a_mean_counts_by_its_weight_and_nothing_is_left_out():
    window = Window(0)
    for total, weight in ((6.0, 2.0), (0.0, 0.0), (30.0, 6.0)):  # 3 nats at 2 tokens, none, 5 nats at 6
        sound = Mean(jnp.float32(total), jnp.float32(weight))
        window.add(1, {}, {"loss": jnp.float32(1), "sound": sound, "text": Mean(jnp.float32(0), jnp.float32(0))})
    assert window.take() == {"loss": 1.0, "sound": 4.5}


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_raises_with_the_examples(name, value):
    window = Window(2)
    metrics = {"loss": jnp.float32(1), "grad_norm": jnp.float32(1), name: jnp.float32(value)}
    window.add(7, {"example": np.array([3, 1])}, metrics)
    with pytest.raises(NonFinite, match=r"step 7: .*'example': \[3, 1\]"):
        window.drain()


def test_without_steps_in_flight_a_bad_one_is_told_at_once():
    with pytest.raises(NonFinite, match="step 7"):
        Window(0).add(7, {}, {"loss": jnp.float32(np.nan)})


def test_skipped_steps_are_told_left_out_of_the_mean_and_bounded():
    said = []
    window = Window(0, said.append)
    window.add(1, {}, {"loss": jnp.float32(1), SKIPPED: jnp.float32(0)})
    bad = {"loss": jnp.float32(np.nan), SKIPPED: jnp.float32(1)}
    for step in range(MOST):
        window.add(2 + step, {"example": np.array([step])}, bad)
    assert window.take() == {"loss": 1.0}
    assert len(said) == MOST and "skipped, 2 of 10 at most: step 3: loss nan" in said[1] and "[1]" in said[1]
    with pytest.raises(NonFinite, match="step 12"):
        window.add(12, {}, bad)


def test_lines_past_the_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    keep_until(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    keep_until(tmp_path / "none", 2)


def test_without_a_terminal_progress_is_plain_lines(tmp_path, capsys):
    with Reporter(tmp_path, steps=100) as report:
        report.begin(10)
        report.say("compiling, once …")
        report.progress(20, {"loss": 0.25})
    told = capsys.readouterr().err
    assert "\r" not in told and "\x1b" not in told
    assert told.splitlines()[0] == "compiling, once …"
    assert told.splitlines()[1].startswith("step 20/100 · loss 0.2500 · ") and told.splitlines()[1].endswith(" left")
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 20, "loss": 0.25}


def test_in_a_terminal_progress_is_one_line_written_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Reporter(tmp_path, steps=100) as report:
        report.begin(0)
        report.progress(1, {"loss": 1.0})
        report.progress(2, {"loss": 1.0})
    told = capsys.readouterr().err
    assert told.count("\r\x1b[K") == 2 and told.count("\n") == 1
