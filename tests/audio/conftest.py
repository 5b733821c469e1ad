"""A SoundStream small enough to compile in seconds, with codebooks that hold random entries."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.tokenizer import AudioTokenizer

CONFIGS = Path(__file__).parents[2] / "configs" / "audio_tokenizer.py"
TINY = {
    "sample_rate": 16_000,
    "channels": 2,
    "dim": 4,
    "strides": (2, 4),
    "dilations": (1, 3),
    "kernel_size": 3,
    "levels": 3,
    "codebook_size": 16,
    "ema_decay": 0.99,
    "dead_usage": 0.03,
    "kmeans_iterations": 4,
    "denoise": False,
}


@pytest.fixture(scope="session")
def get_config() -> Callable:
    """The shipped configs by size."""
    spec = importlib.util.spec_from_file_location("audio_tokenizer_configs", CONFIGS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


@pytest.fixture(scope="session")
def fields() -> dict:
    return dict(TINY)


@pytest.fixture(scope="session")
def model(fields) -> SoundStream:
    return SoundStream(**fields)


@pytest.fixture(scope="session")
def variables(model) -> dict:
    """Unboxed parameters and codebooks that a batch of noise has started."""
    init = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64)), jnp.ones((1,), int)))
    noise, start = jax.random.normal(jax.random.key(1), (4, 640)), jax.jit(partial(model.apply, mutable=["codebooks"]))
    _, changed = start(init, noise, jnp.full((4,), 3), jax.random.key(2))
    return {"params": init["params"], "codebooks": changed["codebooks"]}


@pytest.fixture(scope="session")
def tokenizer(fields, variables) -> AudioTokenizer:
    return AudioTokenizer(fields, variables["params"], variables["codebooks"])


@pytest.fixture
def noise() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(scale=0.3, size=(3, 4000)).astype(np.float32))
