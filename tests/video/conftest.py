"""A tokenizer small enough to compile in seconds, with every feature of the large ones; and its parameters."""

import functools
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.video.model import build
from videopoet_jax.video.tokenizer import VideoTokenizer

CONFIGS = Path(__file__).parents[2] / "configs" / "video_tokenizer.py"

CONFIG = {
    "patch": (1, 2, 2),
    "strides": ((2, 2, 2), (2, 1, 1)),
    "quantizer": {"name": "lfq", "bits": 10},
    "causal": True,
    "pooled": False,
    "adaptive": True,
    "groups": 4,
    "kernel_time": (1, 3, 3),
    "encoder_widths": (8, 8, 12),
    "encoder_blocks": (1, 1, 1),
    "decoder_widths": (8, 8, 12),
    "decoder_middle_blocks": 1,
    "decoder_blocks": (1, 1, 1),
    "upsample_kernel": 3,
    "remat": False,
}
IMAGE = {**CONFIG, "kernel_time": (1, 1, 1)}


def config(**changes):
    return {**CONFIG, **changes}


def drawn(config, frames=1):
    """Random, biases and AdaGN's maps too, so that nothing is hidden behind a zero; NumPy's, so nothing is compiled."""
    variables = jax.eval_shape(build(config).init, jax.random.key(0), jnp.zeros((1, frames, 8, 8, 3)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        mean = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(mean + rng.normal(size=leaf.shape) / np.sqrt(fan_in), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, nn.meta.unbox(variables)["params"])


@functools.cache
def parameters(image: bool = False):
    return drawn(IMAGE if image else CONFIG)


@functools.cache
def tokenizer(chunk_frames: int | None = None, dtype: str = "float32") -> VideoTokenizer:
    return VideoTokenizer(CONFIG, parameters(), dtype=dtype, chunk_frames=chunk_frames)


@pytest.fixture(scope="session")
def tiny():
    """`tiny.CONFIG`, its image stage IMAGE, `config(field=…)`, `drawn(config)`, `parameters()`, `tokenizer()`."""
    return SimpleNamespace(
        CONFIG=CONFIG, IMAGE=IMAGE, config=config, drawn=drawn, parameters=parameters, tokenizer=tokenizer
    )


@pytest.fixture(scope="session")
def get_config():
    """The shipped configs by variant."""
    return lambda variant: load_config(f"{CONFIGS}:{variant}")
