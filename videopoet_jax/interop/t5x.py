"""What `configs/t5x/*.gin` name: our language model trains and decodes under T5X, on our SeqIO mixtures.

    export VIDEOPOET_RECORDS=records            # with records/train and records/held_out, of `videopoet data prepare`
    python -m t5x.train --gin_file=videopoet_jax/configs/t5x/train.gin --gin.SIZE="'nano'" --gin.MODEL_DIR="'runs/t5x'"
    python -m t5x.infer --gin_file=videopoet_jax/configs/t5x/infer.gin --gin.SIZE="'nano'" \\
        --gin.CHECKPOINT_PATH="'runs/t5x/checkpoint_2200'" --gin.INFER_OUTPUT_DIR="'runs/t5x/written'"

T5X is on no package index, and its setup.py asks for packages from GitHub, some pinned to versions older than ours.
The pip commands that leave ours as they are:

    pip install 'videopoet_jax[t5x]'
    pip install --no-deps git+https://github.com/google-research/t5x git+https://github.com/google/airio
    pip install --no-deps git+https://github.com/google-research/jestimator

Run with T5X cc342d419ec3 (2026-04-21), AirIO 69897df7d9a4 (2026-04-09) and jestimator 326824a477fe (2024-05-15).

Sizes, losses, optimizers and schedules are those of `configs/lm.py`; `OVERRIDES = {'train.steps': 20}` changes them.
What T5X has no place for is left out: groups and packed rows (all rows are of one length, as long as the longest
sequence needs), an average of the parameters, and a state of the data: a run that goes on draws examples anew.
"""

import functools
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from videopoet_jax.interop import t5x_model
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.sequence import Layout, Layouts, Vocabulary
from videopoet_jax.training.optimizer import make_optimizer
from videopoet_jax.training.schedules import make_schedule
from videopoet_jax.training.state import moment_axes

logical_axis_rules = t5x_model.logical_axis_rules


def _t5x(name: str) -> Any:
    """A module of T5X's."""
    try:
        return importlib.import_module(f"t5x.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"t5x.{name}: there is no {error.name}; pip install 'videopoet_jax[t5x]', and T5X itself as "
            f"videopoet_jax/interop/t5x.py says."
        ) from error


def lm_config(size: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """The config of one of `configs/lm.py`'s sizes; `overrides` as in `{"model.depth": 2}`.

    Raises:
        ValueError: no such size or key, or a value of another type.
    """
    from videopoet_jax.configs import lm

    config = lm.get_config(size)
    for key, value in (overrides or {}).items():
        *path, leaf = key.split(".")
        try:
            node = functools.reduce(lambda node, name: node[name], path, config)
            node[leaf] = type(node[leaf])(value) if type(node[leaf]) is float and type(value) is int else value
        except (KeyError, TypeError, AttributeError):
            raise ValueError(
                f"OVERRIDES {key!r}: {value!r}: no such key, or of another type; see configs/lm.py."
            ) from None
    return config


def setting(config: ConfigDict, key: str) -> Any:
    """One of its numbers: `config, "train.batch_size" → 32`"""
    return functools.reduce(lambda node, name: node[name], key.split("."), config)


def schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate, for T5X's `learning_rate_fn`, which shows it."""
    t = config.train
    return make_schedule(
        name=t.schedule, peak=t.learning_rate, steps=t.steps, warmup_steps=t.warmup_steps, end=t.learning_rate_end
    )


def optimizer(config: ConfigDict) -> Any:
    """The config's optimizer as T5X's `OptimizerDef`; its moments lie on the mesh as their parameters do."""

    class Optimizer(_t5x("optimizers").OptaxWrapper):
        def derive_logical_axes(self, optimizer: Any, param_logical_axes: Any) -> Any:
            """T5X's own knows the states of some of Optax's transformations; this knows them all."""
            state, params = optimizer.state, optimizer.target
            axes = moment_axes(self.optax_optimizer, state.param_states, params, param_logical_axes)
            return optimizer.replace(target=param_logical_axes, state=state.replace(step=None, param_states=axes))

    t = config.train
    named = {name: getattr(t, name) for name in ("b1", "b2", "eps", "weight_decay", "clip_norm")}
    return Optimizer(make_optimizer(name=t.optimizer, learning_rate=schedule(config), **named))


def feature_lengths(mixture: str) -> dict[str, int]:
    """T5X's `task_feature_lengths`: what the longest prefix, output and text need of a task's or mixture's."""
    from videopoet_jax.data.features import TASK_FEATURES

    found = {"inputs": 1, "targets": 1, "text": 1}
    for layout in _layouts(mixture):
        prefix = layout.prefix_length
        needed = {"inputs": prefix, "targets": layout.length - prefix, "text": layout.text_length}
        found = {name: max(found[name], needed[name]) for name in found}
    return {name: found[name.partition("_")[0]] for name in TASK_FEATURES}


def row_length(mixture: str) -> int:
    """Tokens of its longest sequence, which is not the one of the longest prefix and of the longest output."""
    return max(layout.length for layout in _layouts(mixture))


def _layouts(mixture: str) -> Iterator[Layout]:
    """All layouts that the records give to a mixture's tasks."""
    import seqio

    from videopoet_jax.data.mixtures import PREFIX
    from videopoet_jax.data.task_batches import kinds_of

    tasks = [task.name.removeprefix(PREFIX) for task in seqio.get_subtasks(seqio.get_mixture_or_task(mixture))]
    for source in sources():
        layouts = Layouts.from_dict(source.meta["layouts"])
        for kind in kinds_of(source.index, source.meta["keys"], dict.fromkeys(tasks, 1.0), layouts):
            yield kind.layout


def sources() -> list[Any]:
    """The records of each split that there are."""
    from videopoet_jax.data.mixtures import RECORDS, SPLITS, records
    from videopoet_jax.data.token_records import TokenSource

    there = [records(split) for split in SPLITS if records(split).is_dir()]
    if not there:
        names = " nor ".join(SPLITS.values())
        raise ValueError(f"{RECORDS}={os.environ[RECORDS]}: holds no {names}; make them with `videopoet data prepare`.")
    return [TokenSource(path) for path in there]


def _encoder(config: ConfigDict, name_or_dir: str | None) -> Any:
    """The text encoder of that name, or the one that the records were made with; on the host."""
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.text.embed import TextEncoder

    source = sources()[0]
    if name_or_dir is None:
        name_or_dir = Path(source.directory).resolve() / source.meta["models"]
        check_digests(name_or_dir, source.meta["digests"], f"the records in {source.directory} were made with")
    spoken = Layouts.from_dict(source.meta["layouts"]).vocabulary
    model = Vocabulary(config.model.visual_codes, config.model.audio_levels, config.model.text_pieces)
    if model != spoken:
        raise ValueError(f"records of {spoken}: the model has {model}; set OVERRIDES to the records' own.")
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return TextEncoder.from_pretrained(name_or_dir)


def language_model(
    config: ConfigDict,
    length: int,
    optimizer_def: Any = None,
    text_encoder: str | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance_scale: float | None = None,
) -> Any:
    """T5X's `MODEL`.

    Args:
        config: of `lm_config`.
        length: tokens of a row, of `row_length`.
        optimizer_def: of `optimizer`, or one of T5X's own; None to decode alone.
        text_encoder: a shipped name or a directory; None for the one that the records were made with.
        temperature, top_k, top_p, guidance_scale: how predictions are drawn, see `layers.sampling`.
    """
    from videopoet_jax.data.features import FeatureConverter
    from videopoet_jax.data.mixtures import VOCABULARY

    class Rows(FeatureConverter):
        row = length

    base = _t5x("models").BaseModel

    class LanguageModel(t5x_model.Adapter, base):
        """A `BaseModel`: T5X's transformers have their logits whole, ours never do."""

        FEATURE_CONVERTER_CLS = Rows
        input_vocabulary = output_vocabulary = VOCABULARY

        def __init__(self, *args: Any) -> None:
            t5x_model.Adapter.__init__(self, *args)
            base.__init__(self, optimizer_def)

    sampling = Sampling(temperature, top_k, top_p, guidance_scale)
    return LanguageModel(config, _encoder(config, text_encoder), sampling)
