"""The plans that are published: their configs and slices are real, and a line says what its plan says."""

import json
import subprocess

import plans
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.plan_training import layout_of
from videopoet_jax.lm.flops import layer_params
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel.chips import parse_topology


@pytest.mark.parametrize("name", plans.TRAINING)
def test_every_device_has_rows(name):
    spec, topology, overrides, _ = plans.TRAINING[name]
    config, chips = load_config(spec, overrides), parse_topology(topology).chips
    length = layout_of(config, "text_to_video").length
    rows = config.data.tokens // length if config.data.tokens else config.train.batch_size
    shares = chips // (config.mesh.tensor * config.mesh.sequence)
    assert rows >= shares and PrefixLM(**config.model).heads % config.mesh.sequence == 0


def test_maxtexts_model_has_its_size_and_tokens():
    spec, topology, overrides, _ = plans.TRAINING["maxtext_16b"]
    config, chips = load_config(spec, overrides), parse_topology(topology).chips
    assert layer_params(PrefixLM(**config.model)) == pytest.approx(16e9, rel=0.05)
    tokens = config.train.batch_size * layout_of(config, "text_to_video").length / chips
    assert tokens == pytest.approx(6 * 2048, rel=0.05)


def test_a_line_is_of_its_plan(tmp_path, monkeypatch):
    figures = {"mfu": 0.56, "rows": 512, "step_seconds": 2.5, "peak_bytes_per_chip": 8, "hbm_bytes_per_chip": 16}

    def run(command, **_):
        report = command[command.index("--json") + 1]
        assert command[3:8] == ["plan", "--config", "lm:8b", "--topology", "v6e:16x16"] and "model.remat=mlp" in command
        with open(report, "w") as file:
            json.dump(figures, file)

    monkeypatch.setattr(subprocess, "run", run)
    line = plans.training(tmp_path, "8b_v6e")
    assert (line["ratio"], line["goal"], line["memory"], line["rows"]) == (0.56, 0.55, 0.5, 512)
