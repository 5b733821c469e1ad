"""What the gin files name, without T5X: configs, lengths, the encoder; and the files themselves, where gin is."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from videopoet_jax.interop import t5x
from videopoet_jax.training.schedules import make_schedule

GIN = sorted(Path(__file__, "../../../configs/t5x").resolve().glob("*.gin"))


def test_a_config_is_a_size_with_its_numbers_changed(tiny):
    config = t5x.lm_config("nano", tiny)
    assert (config.model.depth, config.model.rotary_sections, config.train.steps) == (2, (4, 2, 2), 20)
    assert t5x.setting(config, "train.batch_size") == 4
    assert t5x.lm_config("300m").model.depth == 24


@pytest.mark.parametrize(
    ("size", "overrides", "message"),
    [
        ("nan", {}, "lm size 'nan': unknown"),
        ("nano", {"model.deep": 2}, "OVERRIDES 'model.deep': 2: .*see configs/lm.py"),
        ("nano", {"model.depth": "two"}, "OVERRIDES 'model.depth': 'two': .*"),
    ],
)
def test_a_size_or_key_that_is_none_is_told(size, overrides, message):
    with pytest.raises(ValueError, match=message):
        t5x.lm_config(size, overrides)


def test_the_schedule_is_the_loops(tiny):
    config = t5x.lm_config("nano", tiny)
    same = make_schedule(name="cosine", peak=4e-3, steps=20, warmup_steps=5, end=1e-5)
    assert [float(t5x.schedule(config)(n)) for n in range(20)] == [float(same(n)) for n in range(20)]


def test_lengths_are_those_of_the_longest_sequences(there):
    pytest.importorskip("seqio")
    from videopoet_jax.data.mixtures import examples

    lengths = t5x.feature_lengths("videopoet_adapt_to_text")
    found = [
        {name: len(value) for name, value in example.items()}
        for task in ("text_to_video", "text_to_image", "image_to_video")
        for split in ("train", "validation")
        for example in examples(task, split, None)
    ]
    for name in ("inputs", "targets", "inputs_row", "targets_time"):
        assert lengths[name] == max(f[name] for f in found)
    assert lengths["text"] >= max(f["text"] for f in found)
    longest = max(f["inputs"] + f["targets"] for f in found)
    assert t5x.row_length("videopoet_adapt_to_text") == longest < lengths["inputs"] + lengths["targets"]


def test_records_that_are_nowhere_are_told(tmp_path, monkeypatch):
    pytest.importorskip("seqio")
    monkeypatch.setenv("VIDEOPOET_RECORDS", str(tmp_path))
    with pytest.raises(ValueError, match="holds no train nor held_out; make them with `videopoet data prepare`"):
        t5x.feature_lengths("videopoet_text_to_video")


def test_a_model_of_another_vocabulary_than_the_records_is_told(there):
    pytest.importorskip("seqio")
    with pytest.raises(ValueError, match=r"records of Vocabulary\(visual_codes=262144, audio_levels=1.*set OVERRIDES"):
        t5x._encoder(t5x.lm_config("300m"), None)


def test_nothing_of_ours_needs_t5x_or_tensorflow_to_be_imported():
    code = (
        "import sys, videopoet_jax.interop.t5x, videopoet_jax.interop.t5x_model\n"
        "assert not {'t5x', 'tensorflow', 'seqio', 'gin'} & sys.modules.keys(), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", GIN, ids=lambda path: path.name)
def test_gin_reads_the_files_and_what_they_bind_of_ours_is_there(path):
    pytest.importorskip("gin")
    from gin import config_parser

    named = []

    class Names(config_parser.ParserDelegate):
        def configurable_reference(self, scoped_configurable_name, evaluate):
            named.append(scoped_configurable_name.rpartition("/")[2])

        def macro(self, macro_name):
            assert macro_name.isupper() or macro_name == "gin.REQUIRED"

    for statement in config_parser.ConfigParser(path.read_text(), Names()):
        if isinstance(statement, config_parser.IncludeStatement) and statement.filename.startswith("videopoet_jax"):
            assert GIN[0].parent / Path(statement.filename).name in GIN
        if getattr(statement, "selector", "").startswith("adapter.") and hasattr(statement, "arg_name"):
            function = getattr(t5x, statement.selector.removeprefix("adapter."))
            assert statement.arg_name in inspect.signature(function).parameters
    for name in named:
        module, _, function = name.partition(".")
        assert module != "adapter" or callable(getattr(t5x, function))


def test_where_t5x_is_missing_one_line_says_how_to_get_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "t5x", None)
    message = (
        "t5x.optimizers: there is no t5x.*; pip install 'videopoet_jax\\[t5x\\]', and T5X itself as .*t5x.py says."
    )
    with pytest.raises(ValueError, match=message):
        t5x.optimizer(t5x.lm_config("nano", tiny))
