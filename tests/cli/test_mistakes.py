"""Mistakes in a config are told in one line, with the value, the rule and the remedy, before anything is compiled."""

import pytest
import random_records

from videopoet_jax.cli.main import main
from videopoet_jax.training import compilation


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return random_records.write(tmp_path_factory.mktemp("data") / "records")


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        ("lm", "train.stepz=3", "no key 'train.stepz' in this config; keys here: accumulate,"),
        ("lm", "train.batch_size=many", "train.batch_size is a int (8); give one"),
        ("lm", "data.tokens=100", "100 tokens a step: 8 rows of 195 need 1,560; raise data.tokens"),
        (
            "lm",
            "train.accumulate=3",
            "train.accumulate 3: 8 rows do not divide into so many microbatches; give a divisor",
        ),
        ("lm", "mesh.tensor=3", "'tensor': 3, 'sequence': 1} for 8 devices: the sizes must multiply to 8; leave one"),
        ("lm", "model.dtype=float13", "model.dtype 'float13': unknown; use float32, bfloat16 or float16"),
        ("lm", "train.optimizer=sgdx", "sgdx"),
        ("lm", "data.audio_levels=2", "data.audio_levels 2: "),
        ("video_tokenizer", "data.num_frames=16", "16: this tokenizer would fill such clips up; train on ones that it"),
    ],
)
def test_it_is_told_before_anything_is_compiled(config, change, words, records, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compilation, "_compile", lambda *_: 1 / 0)
    settings = random_records.settings(records, "train.batch_size=8") if config == "lm" else ["--set", "data.size=16"]
    with pytest.raises(SystemExit) as leave:
        main(["train", "--config", f"{config}:nano", "--workdir", str(tmp_path), *settings, "--set", change])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert leave.value.code == 2 and len(told) == 1 and words in told[0], told
    assert not (tmp_path / "checkpoints").exists()
