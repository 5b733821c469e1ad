"""From weights to other tasks: a whole model goes on, adapters go on in its place, a text model starts one."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.recipes_of_language import start_from
from videopoet_jax.cli.train import Run
from videopoet_jax.lm import language_model, weights
from videopoet_jax.lm.language_model import LanguageModel
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.pretrained import files
from videopoet_jax.training import lora

TINY = ["model.depth=2", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16",
        "model.mlp=32", "model.chain_hidden=16", "train.optimizer=adamw", "train.batch_size=4",
        "train.warmup_steps=1", "train.ema_decay=0.0"]  # fmt: skip
PLACES = ["model.rotary_sections=(8,4,4)"]
SEQUENCE = ["model.rotary_sections=(16,)"]
MATCH = "attention.(query|value)"


def tasks(**rates):
    return f"data.tasks={json.dumps(rates)}"


def train(config, workdir, *changes, **flags):
    flags = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    settings = [part for change in changes for part in ("--set", change)]
    main(["train", "--config", config, "--workdir", str(workdir), "--checkpoint-every", "2", *flags, *settings])


def flat(directory):
    return files.flatten(files.load_params(directory))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "records"
    models = str(files.resolve("nano"))
    main(["data", "prepare", "--config", "lm:nano", "--models", models, "--out", str(out), "--clips", "4"])
    return f"data.records={out}"


@pytest.fixture(scope="module")
def base(records, tmp_path_factory):
    """A model that has seen one task."""
    folder = tmp_path_factory.mktemp("base")
    train("lm:nano", folder / "run", *TINY, *PLACES, records, tasks(text_to_video=1.0), "train.steps=2",
          export=folder / "lm", export_dtype="float32")  # fmt: skip
    return folder / "lm"


def begun(config, workdir, start):
    run = Run(config, recipe_for(config, workdir), str(start))
    return run.begin()[0]


def test_another_mixture_goes_on_from_a_models_weights(records, base, tmp_path, capsys):
    changes = (*TINY, *PLACES, records, tasks(frame_prediction_9=0.5, image_to_video=0.5), "train.steps=2")
    state = begun(load_config("lm:nano", changes), tmp_path, base)
    for name, value in files.flatten(state.params).items():
        np.testing.assert_array_equal(value, flat(base)[name])
    train("lm:nano", tmp_path / "run", *changes, "train.accumulate=2", init=base, export=tmp_path / "lm")
    changed = [name for name, value in flat(tmp_path / "lm").items() if np.abs(value - flat(base)[name]).max() > 1e-4]
    assert "layers.mlp.up" in changed and "output.visual" in changed


def test_adapters_alone_train_and_their_files_make_the_model_that_was_exported(records, base, tmp_path, capsys):
    changes = (*TINY, *PLACES, records, tasks(frame_prediction_9=1.0), "train.steps=4", "train.learning_rate=0.05",
               "train.lora.rank=2", f"train.lora.match={MATCH}")  # fmt: skip
    run, out = tmp_path / "run", tmp_path / "lm"
    train(
        "lm:nano", run, *changes, init=base, export=out, export_adapters=tmp_path / "adapters", export_dtype="float32"
    )
    before, after = flat(base), flat(out)
    matched = {"layers.attention.query", "layers.attention.value"}
    assert {name for name in before if np.any(before[name] != after[name])} == matched
    merged = files.flatten(lora.apply_adapters(files.load_params(base), tmp_path / "adapters"))
    for name in after:
        np.testing.assert_allclose(merged[name], after[name], atol=1e-6)
    LanguageModel.from_pretrained(out)
    held = json.loads((run / "checkpoints" / "00000004" / "manifest.json").read_text())["arrays"]
    assert [name for name in held if name.startswith("params")] and all("lora_" in n for n in held if "query" in n)
    assert not [name for name in held if "visual" in name]  # neither base nor moments of it
    adapters, all_of_it = lora.count(flat(tmp_path / "adapters")), lora.count(before)
    assert f"adapters of {adapters:,} numbers train, the {all_of_it:,} of {base} stay" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train("lm:nano", run, *changes, init=out)
    assert "its adapters belong to other weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        (["train.lora.rank=2"], {}, "train.lora.rank 2: adapters need weights to adapt; name them with --init"),
        ([], {"export_adapters": "x"}, "--export-adapters x: train.lora.rank is 0, so there are none"),
    ],
)
def test_adapters_of_nothing_are_refused(changes, flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        train("lm:nano", tmp_path, *changes, **flags)
    assert leave.value.code == 2 and message in capsys.readouterr().err


def llama(folder, model):
    """Random weights of a Llama, as Hugging Face publishes them."""
    rng, shapes = np.random.default_rng(0), weights.shapes(model, {"text_pieces": 50})
    names = {**weights.NAMES, "text": weights.EMBEDDING}
    tensors = {
        theirs.format(i=i): rng.normal(1.0 if "norm" in ours else 0.0, 0.1, shapes[ours]).astype(np.float32)
        for ours, theirs in names.items()
        for i in range(model.depth if "{i}" in theirs else 1)
    }
    folder.mkdir()
    save_file(tensors, folder / files.WEIGHTS)
    config = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=50, hidden_size=model.width,
                  num_hidden_layers=model.depth, num_attention_heads=model.heads, intermediate_size=model.mlp,
                  num_key_value_heads=model.kv_heads, head_dim=model.head_dim, hidden_act="silu",
                  rms_norm_eps=model.epsilon, rope_theta=10_000.0, tie_word_embeddings=True)  # fmt: skip
    (folder / files.CONFIG).write_text(json.dumps(config))
    return tensors


def test_a_text_model_starts_one_of_ours(records, tmp_path):
    changes = (*TINY, *SEQUENCE, records, tasks(text_to_video=1.0), "train.steps=2", "model.text_pieces=50")
    config = load_config("lm:llama_nano", changes)
    tensors = llama(tmp_path / "llama", PrefixLM(**config.model))
    state = begun(config, tmp_path / "run", tmp_path / "llama")
    np.testing.assert_array_equal(state.params["input"]["special_text"][256:306], tensors[weights.EMBEDDING])
    train("lm:llama_nano", tmp_path / "run", *changes, init=tmp_path / "llama", export=tmp_path / "lm")
    assert LanguageModel.from_pretrained(tmp_path / "lm").model.rotary_sections == (16,)
    config.data.tasks = {"captioning": 1.0}
    with pytest.raises(ValueError, match="captioning: writes the pieces of the records' text encoder, and .*its own"):
        start_from(str(tmp_path / "llama"), config, {})


def test_what_trains_is_float32_also_where_models_compute_in_bfloat16(base, monkeypatch):
    monkeypatch.setattr(language_model, "compute_dtype", lambda name=None: name or "bfloat16")
    config = load_config("lm:nano", (*TINY, *PLACES))
    held = (LanguageModel.from_pretrained(base).params, start_from(str(base), config, {}))
    assert [{str(leaf.dtype) for leaf in jax.tree.leaves(params)} for params in held] == [{"bfloat16"}, {"float32"}]


def test_a_model_of_other_tokenizers_is_refused_and_other_numbers_are_told(base, capsys):
    config = load_config("lm:nano", (*TINY, *PLACES, "model.rotary_bases=(9.0,9.0,9.0)"))
    digests = json.loads((base / files.CONFIG).read_text())["tokenizers"]
    jax.tree.map(np.testing.assert_array_equal, start_from(str(base), config, digests), files.load_params(base))
    assert capsys.readouterr().out.count("otherwise in") == 1
    with pytest.raises(
        ValueError, match="trained with video_tokenizer sha256:.*, the records were made with sha256:00"
    ):
        start_from(str(base), config, digests | {"video_tokenizer": "sha256:00"})
