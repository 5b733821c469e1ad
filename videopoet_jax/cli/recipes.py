"""Configs → what the one training loop needs, for each kind of model: data, parameters, loss, preview, export.

Nothing here trains: a `Recipe` is handed to `training.loop.fit` by `videopoet train`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from videopoet_jax.data.loader import Loader
from videopoet_jax.training.meter import Work

PyTree = Any
DTYPES = ("float32", "bfloat16", "float16")  # of the computation


@dataclass(frozen=True)
class AdversaryRecipe:
    """The second player in a model's training: fields as in `Recipe`, its batches are what the model made."""

    init: Callable[[jax.Array], PyTree]
    loss_fn: Callable
    extra: PyTree


@dataclass(frozen=True)
class Recipe:
    """One model's part in a training run.

    Attributes:
        init: key → boxed parameters (`flax.linen` metadata), traced under jit.
        loss_fn: the loss protocol of `training.step`.
        extra: the start of `TrainState.extra`.
        batches: an endless loader with a state.
        preview: (params, extra, folder, step) → figures to log; draws pictures of held-out examples into the folder.
            Only the first process calls it, with whole arrays.
        together: instead, all processes call it, with arrays split as they train; the folder is None on the others.
        trained: (params, extra) → the model, whose `save_pretrained(directory, dtype=…)` writes it.
        start: (shipped name or directory) → (parameters, extra) to start from instead of `init`'s.
        adversary: who learns to tell its outputs from the truth, if the config has one.
        work: a process's rows of a batch → what a step on them takes (`training.meter.Work`).
        vocabulary: digests of what gives the ids in its batches their meaning, by name; the same on every machine.
    """

    init: Callable[[jax.Array], PyTree]
    loss_fn: Callable
    extra: PyTree
    batches: Loader
    preview: Callable[[PyTree, PyTree, Path | None, int], dict[str, float]] | None
    trained: Callable[[PyTree, PyTree], Any]
    start: Callable[[str], tuple[PyTree, PyTree]]
    adversary: AdversaryRecipe | None = None
    together: bool = False
    work: Callable[[dict], Work] | None = None
    vocabulary: dict[str, str] = field(default_factory=dict)


def recipe_for(config: ConfigDict, workdir: Path) -> Recipe:
    """The recipe of a config's `model_type`."""
    from videopoet_jax.cli import recipes_of_language as language
    from videopoet_jax.cli import recipes_of_tokenizers as tokenizers

    for part in ("model", "loss"):
        if (dtype := config.get(part, {}).get("dtype", DTYPES[0])) not in DTYPES:
            raise ValueError(f"{part}.dtype {dtype!r}: unknown; use {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
    match config.model_type:
        case "videopoet_video_tokenizer":
            return tokenizers.video_tokenizer(config)
        case "videopoet_audio_tokenizer":
            return tokenizers.audio_tokenizer(config)
        case "videopoet_text_encoder":
            return language.text_encoder(config, workdir)
        case "videopoet_lm":
            return language.language_model(config)
    raise ValueError(f"model_type {config.model_type!r}: nothing here trains one; see the configs that ship.")
