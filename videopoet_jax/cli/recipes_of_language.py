"""Recipes of the text encoder and of the language model."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.cli.recipes import Recipe
from videopoet_jax.data.loader import make_loader


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
        vocabulary={"pieces": pieces.sha256},
    )


def language_model(config: ConfigDict) -> Recipe:
    """Token records → sequences, in groups or packed; the text encoder runs, frozen, inside the step, unless records
    keep its embeddings."""
    from videopoet_jax.cli.data_worker import view_keys
    from videopoet_jax.cli.held_out import HeldOut
    from videopoet_jax.data.task_batches import task_batches
    from videopoet_jax.data.token_records import TokenSource
    from videopoet_jax.layers.objective import FROZEN
    from videopoet_jax.lm.language_model import DIGESTS, LanguageModel, init_params
    from videopoet_jax.lm.loss import make_loss
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.text.embed import TextEncoder

    data, model = config.data, PrefixLM(**config.model)
    if not data.records:
        raise ValueError("data.records: empty; make token records with `videopoet data prepare` and name their folder.")
    source = TokenSource(data.records)
    models = Path(data.records).resolve() / source.meta["models"]
    check_digests(models, source.meta["digests"], f"the records in {data.records} were made with")
    with config.unlocked():  # into every checkpoint, which can then become a model where there are no records
        config[DIGESTS] = source.meta["digests"]
    encoder = TextEncoder.from_pretrained(models)
    pieces, text_model, kept = encoder.pieces, encoder.model, source.meta.get("embeddings")
    # With kept embeddings nothing may hold on to the encoder: its parameters are let go.
    frozen = {"empty_text": empty_embedding(encoder, kept)} if kept else {"text_encoder": encoder.params}

    def embed(params: Any, ids: Any, mask: Any) -> Any:
        return text_model.apply({"params": params}, ids, mask)

    def constants(slots: int) -> dict[str, np.ndarray]:
        none = {"text_embedding": np.zeros((slots, text_model.width), kept)} if kept else {}
        return empty_prompt(pieces, slots) | none

    mixed = dict(most_groups=data.groups, stretches=config.mesh.sequence, constants=constants)
    rates, preview = rates_of(config), None
    check_text(rates, config.model.text_pieces, text_model.vocabulary)
    layouts = layouts_for(config, source)
    if data.held_out:
        made_with = ("digests", "embeddings", *(("structure",) if "structure" in view_keys(rates) else ()))
        held_out = TokenSource(data.held_out, expect={name: source.meta.get(name) for name in made_with})
        layouts_for(config, held_out)
        told = ConfigDict(config.to_dict())
        told.loss.condition_drop = 0.0
        preview = HeldOut(config, held_out, models, rates, layouts, make_loss(told, embed), mixed)
    extra = {FROZEN: frozen}

    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=make_loss(config, embed),
        extra=extra,
        batches=task_batches(
            source,
            rates,
            layouts,
            packing=data.packing,
            rows=functools.partial(rows_of, config),
            seed=config.seed,
            **mixed,
        ),
        preview=preview,
        together=True,
        trained=lambda params, extra: LanguageModel(config.model.to_dict(), params, source.meta["digests"]),
        start=lambda name: (start_from(name, config, source.meta["digests"]), extra),
        work=functools.partial(work_of, model),
        vocabulary=source.meta["digests"],
    )


def work_of(model: Any, batch: dict[str, np.ndarray]) -> Any:
    """What a step on these rows takes."""
    from videopoet_jax.lm.flops import batch_flops
    from videopoet_jax.training.meter import Work

    tokens = int(batch["valid"].sum())
    return Work(tokens, batch["valid"].size - tokens, batch_flops(model, batch))


def start_from(name: str, config: ConfigDict, digests: dict[str, str]) -> Any:
    """Parameters to go on from: of a language model of ours, or of a published text model (`lm.weights`).

    Raises:
        ValueError: a model of other tokenizers, whose codes mean something else; a text model whose pieces would be
            written by captions of another vocabulary.
    """
    import click
    import jax

    from videopoet_jax.lm import weights
    from videopoet_jax.lm.language_model import PART, LanguageModel
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.pretrained import resolve
    from videopoet_jax.training.loop import changes, plain

    directory = resolve(name, PART)
    if weights.is_huggingface(directory):
        if config.model.text_pieces and (writers := writers_of(rates_of(config))):
            raise ValueError(
                f"{', '.join(writers)}: writes the pieces of the records' text encoder, and {name} has pieces of its "
                f"own; leave that task out."
            )
        return weights.load_huggingface(directory, PrefixLM(**config.model), jax.random.key(config.seed))
    lm = LanguageModel.open_pretrained(directory)  # float32, and what no device needs stays in the file
    for part, made_with in digests.items():
        if lm.tokenizers.get(part) != made_with:
            raise ValueError(
                f"{name}: was trained with {part} {str(lm.tokenizers.get(part))[:19]}…, the records were made with "
                f"{made_with[:19]}…; make records with its own, or train without --init."
            )
    of_run = ("dtype", "remat", "unroll")  # nothing that weights depend on
    before, now = ({k: v for k, v in plain(c).items() if k not in of_run} for c in (lm.config, config.model))
    for line in changes(before, now, "model"):
        click.echo(f"otherwise in {name}: {line}")
    return lm.params


def writers_of(rates: dict[str, float]) -> list[str]:
    """The tasks that write text."""
    from videopoet_jax.sequence import get_task

    used = [get_task(name) for name, rate in rates.items() if rate > 0]
    return [task.name for task in used if any(span.modality == "text" for span in task.writes)]


def check_text(rates: dict[str, float], pieces: int, vocabulary: int) -> None:
    """Raises where a task writes text, of as many pieces as the text encoder's vocabulary has, and the model none."""
    writers = writers_of(rates)
    if writers and pieces < vocabulary:
        raise ValueError(
            f"model.text_pieces {pieces}: {', '.join(writers)} writes text, of {vocabulary:,} pieces; "
            f"--set model.text_pieces={vocabulary}, or leave that task out."
        )


def empty_prompt(pieces: Any, slots: int) -> dict[str, np.ndarray]:
    """What stands in so many text slots where guidance shall learn to do without a prompt."""
    empty = pieces.encode([""], slots)
    return {"empty_text_ids": empty.ids[0], "empty_text_mask": empty.mask[0]}


def empty_embedding(encoder: Any, dtype: str) -> np.ndarray:
    """What the encoder makes of the empty prompt [1 c], of whose slots one is filled."""
    empty = encoder.tokenize([""], 1)
    return np.asarray(encoder.embed(empty.ids, empty.mask))[0].astype(dtype)


def rows_of(config: ConfigDict, length: int) -> int:
    """Rows of a batch of sequences so long: by the tokens of a step if the config names them, else always as many."""
    import jax

    from videopoet_jax.data.grouping import rows

    within = config.mesh.tensor * config.mesh.sequence  # devices that share a row
    share = max(1, jax.device_count() // within) * config.train.accumulate
    return rows(config.data.tokens, length, share) if config.data.tokens else config.train.batch_size


def rates_of(config: ConfigDict) -> dict[str, float]:
    """How often each task is trained on: those of the mixture that the config names, or its own."""
    from videopoet_jax.sequence import get_mixture

    return get_mixture(config.data.mixture) if config.data.mixture else config.data.tasks.to_dict()


def layouts_of(config: ConfigDict) -> Any:
    """How a language model's config lays out sequences."""
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.sequence import Layouts

    data = config.data
    return Layouts(
        vocabulary=PrefixLM(**config.model).vocabulary,
        spatial_stride=data.spatial_stride,
        audio_levels=data.audio_levels,
        audio_order=data.audio_order,
        source="moving_digits" if data.source == "moving_digits" else "video",
        text_lengths=(*data.text_buckets, data.text_length),
        code_bits=data.code_bits,
    )


def layouts_for(config: ConfigDict, records: Any) -> Any:
    """How a language model's config lays out the sequences of a `TokenSource`.

    Records say how they were laid out. Of theirs the config may read fewer levels of sound; where either has no text
    ids, the other may.

    Raises:
        ValueError: the config lays out clips otherwise.
    """
    from videopoet_jax.sequence import Layouts
    from videopoet_jax.sequence.words import bits_of

    ours, theirs = layouts_of(config), Layouts.from_dict(records.meta["layouts"])
    pieces = ours.vocabulary.text_pieces, theirs.vocabulary.text_pieces
    named = {"moving_digits": "moving_digits", "video": "folder"}  # `<source:…>` → data.source
    if ours.code_bits:  # whatever a token holds
        codes = {"data.code_bits": (ours.code_bits, bits_of(theirs.codebook))}
    else:
        codes = {"model.visual_codes": (ours.codebook, theirs.codebook)}
    agree = {  # key → the config's value, that of the records
        "data.spatial_stride": (ours.spatial_stride, theirs.spatial_stride),
        **codes,
        "model.text_pieces": pieces if all(pieces) else (0, 0),
        "data.audio_levels": (ours.audio_levels, min(ours.audio_levels, theirs.audio_levels)),
        "data.source": (named[ours.source], named[theirs.source]),
        "data.text_length": (ours.text_lengths[-1], theirs.text_lengths[-1]),
    }
    for key, (value, made) in agree.items():
        if value != made:
            raise ValueError(
                f"{key} {value}: the records in {records.directory} were made with {made}; --set {key}={made}, or make "
                f"them anew with `videopoet data prepare`."
            )
    return ours
