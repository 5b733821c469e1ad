"""Recipes of the text encoder and of the language model."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from videopoet_jax.cli.recipes import Recipe
from videopoet_jax.data.loader import Part, make_loader, mixture


def text_encoder(config: ConfigDict, workdir: Path) -> Recipe:
    """Captions with holes → the missing pieces; its vocabulary is trained first and kept in `workdir`."""
    from videopoet_jax.data.moving_digits_scene import caption, draw
    from videopoet_jax.text.corpus import prepare
    from videopoet_jax.text.embed import TextEncoder, init_params
    from videopoet_jax.text.losses import denoising_loss
    from videopoet_jax.text.t5 import T5Encoder

    data, model = config.data, T5Encoder(**config.model)
    captions = [
        caption(draw("train", level, i, config.seed))
        for level, count in enumerate(data.captions, start=1)
        for i in range(count)
    ]
    pieces, source = prepare(
        captions,
        workdir,
        vocabulary=data.vocabulary.to_dict(),
        length=data.length,
        prompt_repeats=data.prompt_repeats,
        english_share=data.english_share,
    )
    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=denoising_loss(model, sentinels=pieces.sentinels, **config.loss),
        extra={},
        batches=make_loader(source, batch_size=config.train.batch_size, seed=config.seed),
        preview=None,
        trained=lambda params, extra: TextEncoder(config.model.to_dict(), params, pieces),
        start=lambda name: (TextEncoder.from_pretrained(name, "float32").params, {}),
    )


def language_model(config: ConfigDict) -> Recipe:
    """Token records → sequences, a batch of one task at a time; the text encoder runs, frozen, inside the step."""
    from videopoet_jax.data.token_records import TokenSource
    from videopoet_jax.layers.objective import FROZEN
    from videopoet_jax.lm.language_model import LanguageModel, init_params
    from videopoet_jax.lm.loss import make_loss
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.sequence import get_task
    from videopoet_jax.text.embed import TextEncoder

    data, model = config.data, PrefixLM(**config.model)
    if not data.records:
        raise ValueError("data.records: empty; make token records with `videopoet data prepare` and name their folder.")
    source = TokenSource(data.records)
    models = Path(data.records).resolve() / source.meta["models"]
    check_digests(models, source.meta["digests"], f"the records in {data.records} were made with")
    encoder = TextEncoder.from_pretrained(models)
    empty = encoder.tokenize([""], data.text_length)
    extra = {FROZEN: {"text_encoder": encoder.params}}

    def transform(name: str) -> Callable[[dict], dict]:
        layout = layout_of(config, get_task(name))
        blank = {"empty_text_ids": empty.ids[0], "empty_text_mask": empty.mask[0]}
        return lambda record: assemble_record(layout, record) | blank

    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=make_loss(config, lambda params, ids, mask: encoder.model.apply({"params": params}, ids, mask)),
        extra=extra,
        batches=mixture(
            [
                Part(source, weight, config.train.batch_size, transform(name))
                for name, weight in sorted(data.tasks.items())
            ],
            seed=config.seed,
        ),
        preview=None,
        trained=lambda params, extra: LanguageModel(config.model.to_dict(), params, source.meta["digests"]),
        start=lambda name: (LanguageModel.from_pretrained(name).params, extra),
    )


def layout_of(config: ConfigDict, task: Any) -> Any:
    """The layout of a language model's config for one of its tasks."""
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.sequence import Grid, layout_for

    data = config.data
    grid = Grid(data.num_frames, data.height, data.width, data.spatial_stride, data.audio_levels)
    vocabulary = PrefixLM(**config.model).vocabulary
    source = "moving_digits" if data.source == "moving_digits" else "video"
    return layout_for(
        task,
        grid,
        vocabulary=vocabulary,
        text_length=data.text_length,
        source=source,
        audio_order=data.audio_order,
    )


def assemble_record(layout: Any, record: dict) -> dict:
    """One token record as an example of a layout; what only people read is left out."""
    from videopoet_jax.sequence import assemble

    wanted = ("video", "audio", "text_ids", "text_mask")
    return assemble(layout, {name: record[name] for name in wanted})
