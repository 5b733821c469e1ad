"""Configs by name or by file, and changes to them."""

import pytest

from videopoet_jax.cli.configuration import load_config, names


def test_every_config_that_ships_is_found_by_name_and_by_file():
    assert {"lm", "video_tokenizer", "audio_tokenizer", "text_encoder", "pipeline"} <= set(names())
    by_name, by_file = load_config("video_tokenizer:nano"), load_config("configs/video_tokenizer.py:nano")
    assert by_name.to_dict() == by_file.to_dict()


def test_a_change_keeps_the_type():
    config = load_config("lm:nano", ("train.steps=7", "train.learning_rate=1", "data.records=some/where"))
    assert config.train.steps == 7
    assert isinstance(config.train.learning_rate, float)
    assert config.data.records == "some/where"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.learning_rate=1e999", "inf is no number to compute with; give a finite one."),
        ("train.learning_rate=-1e999", "-inf is no number to compute with"),
        ("train.learning_rate=" + "9" * 400, "inf is no number to compute with"),
        ("data.levels=(1, 1e999)", "inf is no number to compute with"),
        ("train.learning_rate=nan", "train.learning_rate is a float (0.003); give one."),
        ("train.learning_rate={[]: 1}", "train.learning_rate is a float (0.003); give one."),
    ],
)
def test_what_is_not_finite_is_refused(change, words):
    with pytest.raises(ValueError) as refused:
        load_config("video_tokenizer:nano", (change,))
    assert str(refused.value).startswith(f"--set {change!r}: {words}")


def test_a_mapping_is_shown_as_it_is_written():
    with pytest.raises(ValueError) as refused:
        load_config("lm:nano", ("data.tasks={mirrored:1.0}",))
    words = str(refused.value)
    assert "data.tasks is a dict ({'" in words and words.endswith("; give one, its names in quotes.")
    assert "\n" not in words


def test_a_file_whose_numbers_are_not_finite_is_refused(tmp_path):
    (tmp_path / "my.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(arg=''):\n    return ConfigDict({'train': {'rates': (1.0, float('nan'))}})\n"
    )
    with pytest.raises(ValueError, match="my.py': train.rates is nan, no number to compute with; give a finite one."):
        load_config(str(tmp_path / "my.py"))


@pytest.mark.parametrize("spec", ["lm:nope", "nope", "nope.py:nano", "../lm:nano"])
def test_an_unknown_config_is_refused(spec):
    with pytest.raises(ValueError, match="nope|lm"):
        load_config(spec)


@pytest.mark.parametrize("name", ["video_tokenizer", "audio_tokenizer", "text_encoder", "lm"])
def test_every_trainable_config_says_all_that_the_trainer_reads(name):
    train = load_config(f"{name}:nano").train
    needed = {"batch_size", "steps", "learning_rate", "learning_rate_end", "warmup_steps", "schedule", "optimizer",
              "b1", "b2", "eps", "weight_decay", "clip_norm", "ema_decay", "accumulate", "lora"}  # fmt: skip
    assert needed <= set(train)
