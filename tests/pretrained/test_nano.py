"""What ships is what the configs describe, small, and holds nothing that runs."""

import json

import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.lm.language_model import EARLIER
from videopoet_jax.pretrained import check_digests, resolve

PARTS = ("video_tokenizer", "audio_tokenizer", "text_encoder", "lm")


def shipped(part):
    return json.loads((resolve("nano") / part / "config.json").read_text())


@pytest.mark.parametrize("part", PARTS)
def test_the_weights_are_of_the_config_in_the_recipe(part):
    wanted = json.loads(json.dumps(load_config(f"{part}:nano").model.to_dict()))  # tuples become lists
    wanted.pop("dtype", None)  # of the computation: the loader's choice
    before = {"denoise": False, **json.loads(json.dumps(EARLIER))}  # what there was before there was a choice
    held = {**before, **shipped(part)}
    assert {name: held[name] for name in wanted} == wanted


def test_the_language_model_names_the_parts_beside_it():
    tokenizers = shipped("lm")["tokenizers"]
    assert set(tokenizers) == {"video_tokenizer", "audio_tokenizer", "text_encoder"}
    check_digests(resolve("nano"), tokenizers, "the language model was trained with")
    with pytest.raises(ValueError, match="the language model was trained with sha256:0000"):
        check_digests(resolve("nano"), {"text_encoder": "sha256:0000"}, "the language model was trained with")


def test_it_is_small_and_holds_nothing_that_runs():
    files = [path for path in resolve("nano").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".model", ".png"}
