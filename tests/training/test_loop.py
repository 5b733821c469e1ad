"""One loop: it learns, logs, resumes bit for bit, stops politely and never saves what is not finite."""

import json

import jax
import numpy as np
import pytest
from tiny_model import train

from videopoet_jax.training.checkpoint import Checkpoints


def assert_same_bits(one, other):
    """Both states hold the same bits: parameters, moments, averages, step, extra and key."""
    one, other = (jax.tree_util.tree_leaves_with_path(state) for state in (one, other))
    assert [path for path, _ in one] == [path for path, _ in other]
    for (path, a), (_, b) in zip(one, other, strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_two_steps_change_every_parameter(tmp_path):
    before = train(tmp_path / "a", 1)
    after = train(tmp_path / "b", 2)
    assert int(after.step) == 2 and int(after.extra["calls"]) == 2
    for a, b in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        assert np.all(np.isfinite(b)) and not np.array_equal(a, b)


def test_it_learns_and_tells(tmp_path, capsys):
    train(tmp_path, 60, log_every=20)
    log = lines(tmp_path)
    assert [row["step"] for row in log] == [20, 40, 60]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert set(log[0]) == {"step", "loss", "grad_norm", "noise"}
    told = capsys.readouterr().err
    assert told.count("compiling, once") == 1
    assert "step 40/60 · loss" in told and "steps/s ·" in told and "left" in told
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize("stop", [4, 6])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(tmp_path, stop):
    whole = train(tmp_path / "whole", 12)
    train(tmp_path / "parts", stop)
    resumed = train(tmp_path / "parts", 12)
    assert_same_bits(whole, resumed)
    assert lines(tmp_path / "whole")[-1] == lines(tmp_path / "parts")[-1]


def test_the_checkpoint_is_the_state_although_the_step_reuses_its_memory(tmp_path):
    states = {}
    train(
        tmp_path,
        12,
        checkpoint_every=1,
        max_to_keep=12,
        evaluate_every=1,
        evaluate=lambda s: states.update({int(s.step): jax.tree.map(jax.numpy.copy, s)}) or {},
    )
    with Checkpoints(tmp_path, max_to_keep=12) as checkpoints:
        for step, state in states.items():
            assert_same_bits(checkpoints.restore(state, step).state, state)
