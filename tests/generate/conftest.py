"""A pipeline that has every task: nano's tokenizers and text encoder, and an untrained language model."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.generate.inputs import Settings
from videopoet_jax.generate.pipeline import VideoPoet
from videopoet_jax.lm.language_model import LanguageModel, init_params
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.sequence import TASKS
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.video.tokenizer import VideoTokenizer

TINY = ("model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.mlp=32",
        "model.rotary_sections=(8,4,4)", "model.chain_hidden=16", "model.text_pieces=1024")  # fmt: skip


@pytest.fixture(scope="session")
def vp():
    config = load_config("lm:nano", TINY).model.to_dict()
    params = nn.meta.unbox(init_params(PrefixLM(**config), jax.random.key(0)))
    told = load_config("pipeline:nano").to_dict() | {"tasks": tuple(TASKS), "grammar_pattern": ""}
    parts = (part.from_pretrained("nano") for part in (VideoTokenizer, AudioTokenizer, TextEncoder))
    return VideoPoet(Settings(**told), *parts, LanguageModel(config, jax.tree.map(np.asarray, params), {}, bucket=1))
