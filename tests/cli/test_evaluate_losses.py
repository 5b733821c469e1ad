"""`videopoet evaluate losses`: what training itself measures, counted; the same pictures in tokens of other sizes."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_records

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.evaluate_losses import losses_of
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes_of_language import layouts_for
from videopoet_jax.cli.saved_models import model_of
from videopoet_jax.data.task_batches import one_task_each, taken
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.lm import make_loss
from videopoet_jax.lm.flops import layer_params, step_flops
from videopoet_jax.lm.language_model import LanguageModel, init_params
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.pretrained import resolve
from videopoet_jax.sequence import assemble, disassemble, get_task
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.training.saved import open_step

TASKS = 'data.tasks={"text_to_video": 0.75, "frame_prediction_9": 0.25}'
OWN = ("data.groups=1", "train.batch_size=2", "train.steps=2", TASKS)
SMALL = (*random_records.TINY, *OWN)
TENS = ["model.visual_codes=1024", "model.visual_factors=1", "data.code_bits=18"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return random_records.write(tmp_path_factory.mktemp("data") / "records", count=4)


def trained(records, workdir, *changes):
    options = random_records.settings(records, *OWN, *changes)
    main(["train", "--config", "lm:nano", *options, "--workdir", str(workdir)])
    return workdir


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    return trained(records, tmp_path_factory.mktemp("runs") / "tiny")


def test_losses_are_those_that_training_measures_and_stand_beside_what_was_spent(records, run, tmp_path, capsys):
    main(["evaluate", "losses", str(run), "--records", str(records), "--json", str(tmp_path / "losses.jsonl")])
    (line,) = map(json.loads, (tmp_path / "losses.jsonl").read_text().splitlines())
    config, source = load_config("lm:nano", (*SMALL, f"data.records={records}")), TokenSource(records)
    model, layouts = PrefixLM(**config.model), layouts_for(config, source)
    own = [layouts.layout(get_task(name), layouts.grid(17, 64, 64)) for name in ("text_to_video", "frame_prediction_9")]
    assert line["name"] == "tiny" and line["steps"] == 2 and line["size"] == layer_params(model)
    assert line["tokens"] == pytest.approx(2 * 2 * (0.75 * own[0].length + 0.25 * own[1].length))
    flops = [step_flops(model, layout, 1).exact for layout in own]
    assert line["flops"] == pytest.approx(2 * 2 * (0.75 * flops[0] + 0.25 * flops[1]))
    assert "text_to_video" in capsys.readouterr().out

    encoder = TextEncoder.from_pretrained(resolve("nano") / "text_encoder")
    empty = encoder.tokenize([""], 16)
    constants = {"empty_text_ids": empty.ids[0], "empty_text_mask": empty.mask[0]}
    config.loss.condition_drop = 0.0
    measure = make_loss(config, lambda params, ids, mask: encoder.model.apply({"params": params}, ids, mask))
    params = jax.tree.map(jnp.asarray, model_of(open_step(run), run, None)[0].params)
    extra, keys = {FROZEN: {"text_encoder": encoder.params}}, lambda name: jax.random.key(0)
    mixed = dict(most_groups=1, stretches=1, rows=4, constants=lambda slots: constants)
    measured = {
        task: float(measure(params, extra, batch, keys)[0])
        for task, batch in one_task_each(source, config.data.tasks.to_dict(), layouts, **mixed).items()
    }
    assert measured.keys() == line["losses"].keys()
    for task, found in line["losses"].items():
        assert found["nats"]["value"] == pytest.approx(measured[task], rel=1e-4)
        low, high = found["video"]["interval"]
        assert low <= found["video"]["value"] <= high
    bits = [line["losses"][task]["video"]["value"] for task in ("text_to_video", "frame_prediction_9")]
    assert bits[0] > 1.5 * bits[1]  # two latent frames of five are given


@pytest.mark.parametrize("changes, bits", [((), 80 * 18), (TENS, 145 * 10)])
def test_who_knows_nothing_needs_every_bit_in_tokens_of_any_size(records, changes, bits):
    """Of 145 tokens of 10 bits 5 hold 2 that are spare: 0.7 % more than there is, for who does not know it."""
    config, source = load_config("lm:nano", (*SMALL, *changes, f"data.records={records}")), TokenSource(records)
    model = PrefixLM(**config.model)
    params = jax.tree.map(np.asarray, nn.meta.unbox(init_params(model, jax.random.key(0))))
    tables = {name: np.zeros_like(params["output"][name]) for name in ("visual", "audio", "special_text")}
    lm = LanguageModel(config.model.to_dict(), {**params, "output": {**params["output"], **tables}}, {})
    found = losses_of(lm, config, source, layouts_for(config, source), None)["text_to_video"]
    assert found["video"]["value"] == pytest.approx(bits, rel=1e-5)
    assert found["sound"]["value"] == pytest.approx(106 * 10, rel=1e-5)


def test_a_model_of_tokens_of_ten_bits_trains_and_writes_codes_of_eighteen(records, tmp_path):
    run = trained(records, tmp_path / "tens", *TENS)
    config, source = load_config("lm:nano", (*SMALL, *TENS, f"data.records={records}")), TokenSource(records)
    layouts = layouts_for(config, source)
    layout = layouts.layout(get_task("text_to_video"), layouts.grid(17, 64, 64))
    example = assemble(layout, taken(layout, source[0]))
    assert np.array_equal(disassemble(layout, example["ids"])["video"], source[0]["video"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 6 < lines[-1]["loss_video"] < 8  # ln 1024 is 6.9, ln 2^18 12.5


def test_records_of_other_codes_are_refused(records, tmp_path, capsys):
    for changes, words in [
        (["model.visual_codes=1024", "model.visual_factors=1"], "--set model.visual_codes=262144"),
        ([*TENS, "data.code_bits=12"], "data.code_bits 12: .*--set data.code_bits=18"),
        (
            ["model.visual_codes=1000", "model.visual_factors=1", "data.code_bits=18"],
            "1000 visual codes: .* a power of 2",
        ),
    ]:
        config = load_config("lm:nano", (*SMALL, *changes, f"data.records={records}"))
        with pytest.raises(ValueError, match=words):
            layouts_for(config, TokenSource(records))
    with pytest.raises(SystemExit):
        main(["evaluate", "losses", str(tmp_path), "--records", str(records)])
    assert "no finished step" in capsys.readouterr().err
