"""`videopoet plan`: what it refuses anywhere; where libtpu is installed, a small step compiled for slices of v5e."""

import importlib.util
import json
import sys

import jax
import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.plan_training import blocks_seen, layout_of, must_fit, shares_of_heads

SMALL = ["model.depth=2", "model.width=256", "model.heads=2", "model.kv_heads=2", "model.mlp=512", "model.text_dim=128",
         "model.visual_codes=1024", "model.audio_levels=1", "data.audio_levels=1", "data.tokens=0"]  # fmt: skip
needs_compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")


def options(*more):
    return [word for value in (*SMALL, *more) for word in ("--set", value)]


def test_heads_are_used_in_the_chunks_that_hold_their_tokens():
    config = load_config("lm:300m", ())
    layout = layout_of(config, "text_to_video")
    share = shares_of_heads(config, layout, 8)
    chunks = -(-layout.length // 128)
    video = next(s for s in layout.segments if s.kind == "video")
    touched = (video.stop - 2) // 128 - (video.start - 1) // 128 + 1
    assert share("jit(x)/score_video/dot") == touched / chunks
    assert 0 < share("score_audio_3") < 0.3 and 0 < share("score_special") < 0.5
    assert share("layers/mlp") == 1.0


def test_a_chunk_is_scored_by_all_stretches_if_one_needs_it():
    config = load_config("lm:1b_long", ())
    layout, chunks = layout_of(config, "text_to_video"), 268_928 // 16 // 256 + 1
    alone, shared = (shares_of_heads(config, layout, 4, stretches) for stretches in (1, 16))
    assert alone("score_audio_0") < 0.006  # 906 tokens of 268,916
    assert shared("score_audio_0") * chunks in (4, 5)  # in chunks of 256, as many of the 66 of a stretch
    assert shared("score_video") == 1.0


def test_blocks_that_somebody_sees():
    assert blocks_seen(300, 512) == 1.0  # blocks of 512: one
    assert blocks_seen(300, 4 * 1024) == (1 + 2 + 3 + 4) / 16
    assert blocks_seen(3000, 4 * 1024) == (3 + 3 + 3 + 4) / 16  # reaches into the third block


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "lm:8b", "--topology", "v5p"], "KIND:AxB"),
        (["--config", "lm:8b", "--topology", "v5p:2x2x1", "--decode", "4", "--slices", "2"], "on one slice"),
        (["--config", "video_tokenizer:base", "--topology", "v5e:4x4"], "a language model's is planned"),
    ],
)
def test_what_cannot_be_planned_is_refused(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["plan", *arguments])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and words in said and len(said.splitlines()) == 1


def test_what_the_compiler_is_and_where_it_comes_from_is_said_once(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)  # as if it were not installed
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--config", "lm:300m", "--topology", "v5e:2x2"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said == (
        "error: libtpu: not installed, and it holds the compiler for TPUs; pip install 'videopoet_jax[tpu]'.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [  # of libtpu 0.0.42, of earlier ones, and of nothing known
        ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (261.95G) "
         "exceeds available HBM (15.75G).", "261.95 GiB or more a chip are needed, of 15.75 GiB"),
        ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.27G of "
         "15.75G hbm. Exceeded hbm capacity by 4.52G.", "20.27 GiB or more a chip are needed, of 15.75 GiB"),
        ("RESOURCE_EXHAUSTED: no more", "more than a chip's memory is needed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_a_remedy(words, said):
    with pytest.raises(ValueError) as told, must_fit("8 rows on v5e:2x2", "take fewer"):
        raise jax.errors.JaxRuntimeError(words)
    assert str(told.value) == f"8 rows on v5e:2x2: {said}; take fewer."
    with pytest.raises(jax.errors.JaxRuntimeError, match="^INTERNAL"), must_fit("8 rows", "take fewer"):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")


@needs_compiler
@pytest.mark.slow
def test_a_step_that_does_not_fit_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--config", "lm:300m", "--topology", "v5e:2x2", *options("train.batch_size=65536")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: 65,536 ") and "a chip are needed, of 15.75 GiB" in said


@needs_compiler
@pytest.mark.slow
def test_the_plan_of_a_small_step(tmp_path):
    report = tmp_path / "plan.json"
    arguments = ["--config", "lm:300m", "--topology", "v5e:4x4", *options("train.batch_size=32"), "--json", str(report)]
    main(["plan", *arguments])
    figures = json.loads(report.read_text())
    assert figures["chips"] == 16 and figures["rows"] == 32
    assert 0 < figures["mfu"] < 0.85 and figures["peak_bytes_per_chip"] < figures["hbm_bytes_per_chip"]
    # Full rematerialisation: a third more, less what attention's blocks skip.
    assert 1.0 < figures["program_flops_per_chip"] / figures["flops_per_chip"] < 1.5
    assert set(figures["collectives"]) & {"all-gather", "all-reduce"}


@needs_compiler
@pytest.mark.slow
def test_without_recomputation_a_program_does_what_the_model_asks_for(tmp_path):
    """At 300m's own size, where what pads attention's blocks and fills up the heads' chunks is little beside the rest.
    A head scores all tokens of a chunk that holds one of its own, so chunks are small here."""
    report = tmp_path / "plan.json"
    changes = ("data.tokens=0", "train.batch_size=16", "model.remat=none", "model.text_pieces=0", "loss.chunk=128")
    arguments = [word for change in changes for word in ("--set", change)]
    main(["plan", "--config", "lm:300m", "--topology", "v5e:4x4", *arguments, "--json", str(report)])
    figures = json.loads(report.read_text())
    assert figures["program_flops_per_chip"] == pytest.approx(figures["flops_per_chip"], rel=0.05)


@needs_compiler
@pytest.mark.slow
def test_what_crosses_the_network_does_not_grow_with_the_slices(tmp_path):
    sent = []
    for slices in (2, 4, 8):
        report = tmp_path / f"{slices}.json"
        rows = options(f"train.batch_size={16 * slices}")
        arguments = ["--config", "lm:300m", "--topology", "v5e:4x4", "--slices", str(slices), *rows]
        main(["plan", *arguments, "--json", str(report)])
        sent.append(json.loads(report.read_text())["collectives"]["network"])
    np.testing.assert_allclose(sent, sent[0], rtol=0.02)
