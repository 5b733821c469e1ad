"""The paper's two stages: pictures first, then clips, on the same records and from the weights of the first."""

import json

import jax
import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.train import Run
from videopoet_jax.pretrained import files, resolve

ALL = ["data.mixture=evenly", "data.size=4", "model.text_pieces=1024"]  # whose records have what every task needs
TINY = ["model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.mlp=32",
        "model.rotary_sections=(8,4,4)", "model.chain_hidden=16", "model.text_pieces=1024", "data.groups=1",
        "train.batch_size=2", "train.optimizer=adamw", "train.steps=2", "train.learning_rate=0.05"]  # fmt: skip


def options(*changes):
    return ["--config", "lm:nano", *(part for change in changes for part in ("--set", change))]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    out = tmp_path_factory.mktemp("stages") / "records"
    main(["data", "prepare", *options(*ALL), "--models", str(resolve("nano")), "--out", str(out), "--batch-size", "4"])
    return out


def leaves(folder):
    return files.flatten(files.load_params(folder))


def test_two_stages_of_two_steps(records, tmp_path, capsys):
    weights, data = tmp_path / "first" / "weights", f"data.records={records}"
    for name, mixture, more in (("first", "pictures_first", ()), ("then", "clips_then", ("--init", str(weights)))):
        settings = options(*TINY, data, f"data.mixture={mixture}")
        main(["train", *settings, "--workdir", str(tmp_path / name), "--export", str(tmp_path / name / "weights"),
              "--export-dtype", "float32", *more])  # fmt: skip
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    first, then = leaves(weights), leaves(tmp_path / "then" / "weights")
    assert first.keys() == then.keys() and any(np.any(first[name] != then[name]) for name in first)
    config = load_config("lm:nano", (*TINY, data, "data.mixture=clips_then"))
    state, _ = Run(config, recipe_for(config, tmp_path), str(weights)).begin()
    begun = files.flatten(jax.tree.map(np.asarray, state.params))
    assert int(state.step) == 0  # moments and schedule are new, the weights are those of the first stage, unrounded
    assert all(np.array_equal(begun[name], first[name]) for name in first)
    with pytest.raises(SystemExit):  # a stage does not go on in the folder of another
        main(["train", *options(*TINY, data, "data.mixture=clips_then"), "--workdir", str(tmp_path / "first")])
    assert "the checkpoint's data and this run's must be the same to go on" in capsys.readouterr().err
