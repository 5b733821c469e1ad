"""Configs → what the one training loop needs, for each kind of model: data, parameters, loss, preview, export.

Nothing here trains: a `Recipe` is handed to `training.loop.fit` by `videopoet train`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.cli.configuration import require
from videopoet_jax.cli.sources import augmentation, clips
from videopoet_jax.data.loader import Loader, make_loader

PyTree = Any


@dataclass(frozen=True)
class Rival:
    """The adversary of a model in training: fields as in `Recipe`, its batches are what the model made."""

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
        export: (params, extra, directory) → writes what `from_pretrained` reads.
        start: (shipped name or directory) → (parameters, extra) to start from instead of `init`'s.
        rival: who learns to tell its outputs from the truth, if the config has one.
    """

    init: Callable[[jax.Array], PyTree]
    loss_fn: Callable
    extra: PyTree
    batches: Loader
    preview: Callable[[PyTree, PyTree, Path, int], dict[str, float]] | None
    export: Callable[[PyTree, PyTree, Path], None]
    start: Callable[[str], tuple[PyTree, PyTree]]
    rival: Rival | None = None


def video_tokenizer(config: ConfigDict) -> Recipe:
    """Frames → codes → frames."""
    from videopoet_jax.data.augment import one_frame
    from videopoet_jax.data.loader import Part, mixture
    from videopoet_jax.evaluate import quality, sheets
    from videopoet_jax.video import losses
    from videopoet_jax.video.inflation import inflate
    from videopoet_jax.video.tokenizer import VideoTokenizer, build, init_params

    model, data = build(config.model.to_dict()), require(config, "data.image_share").data
    adversary = config.adversary.to_dict() if config.adversary.weight else None
    perceptual = perceptual_distance(config) if config.loss.perceptual else None
    extra = losses.initial_extra(perceptual)

    def tokenizer(params: PyTree) -> VideoTokenizer:
        return VideoTokenizer(config.model.to_dict(), params)

    def preview(params: PyTree, extra: PyTree, folder: Path, step: int) -> dict[str, float]:
        held_out = clips(config, "held_out", size=8)
        video = np.stack([held_out[i]["video"] for i in range(min(8, len(held_out)))])
        trained = tokenizer(params)
        copies = trained.decode(trained.encode(video).codes)
        rows = [sheets.Row(n, v) for t, c in zip(video, copies, strict=True) for n, v in (("true", t), ("decoded", c))]
        sheets.save_contact_sheet(folder / f"{step:08d}.png", rows)
        return {"psnr": float(np.mean(quality.psnr_clip(video, copies)))}

    def start(name: str) -> tuple[PyTree, PyTree]:
        return inflate(VideoTokenizer.from_pretrained(name, "float32").params, model), extra

    source, views = clips(config, "train"), augmentation(config)
    parts = [Part(source, 1 - data.image_share, config.train.batch_size, _only("video"), views)]
    if data.image_share:
        parts.append(Part(source, data.image_share, data.image_batch_size, _only("video"), one_frame(views)))
    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=losses.make_loss(model, config.loss.to_dict(), adversary=adversary, perceptual=perceptual),
        extra=extra,
        batches=mixture(parts, seed=config.seed),
        preview=preview,
        export=lambda params, extra, directory: tokenizer(params).save_pretrained(directory),
        start=start,
        rival=adversary and video_rival(config, adversary),
    )


def video_rival(config: ConfigDict, adversary: dict) -> Rival:
    """The discriminator of clips."""
    from videopoet_jax.video import losses

    data = config.data
    clip = (1, data.num_frames, data.height, data.width, 3)

    def init(key: jax.Array) -> PyTree:
        return losses.judge(adversary).init(key, jnp.zeros(clip))["params"]

    return Rival(init, losses.make_adversary_loss(adversary), losses.initial_adversary_extra())


def perceptual_distance(config: ConfigDict) -> Any:
    """LPIPS with the weights that a config names."""
    from videopoet_jax.layers.lpips import load_lpips
    from videopoet_jax.video.losses import Perceptual

    model, params = load_lpips(config.loss.perceptual_network)
    return Perceptual(lambda p, a, b: model.apply({"params": p}, a, b), params, config.loss.perceptual_frames)


def audio_tokenizer(config: ConfigDict) -> Recipe:
    """Sound → codes → sound, on random crops."""
    from videopoet_jax.audio.crops import make_crop
    from videopoet_jax.audio.losses import initial_extra, make_loss
    from videopoet_jax.audio.soundstream import SoundStream
    from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
    from videopoet_jax.evaluate import quality

    model, data = SoundStream(**config.model), config.data

    crop = make_crop(
        samples=data.crop,
        start_share=data.start_share,
        transient_share=data.transient_share,
        peak_normalise=data.peak_normalise,
        quietest=data.quietest,
    )

    def preview(params: PyTree, extra: PyTree, folder: Path, step: int) -> dict[str, float]:
        trained = AudioTokenizer(config.model.to_dict(), params, extra["codebooks"])
        held_out = clips(config, "held_out", size=8, sound=True)
        sounds = [held_out[i]["audio"] for i in range(min(8, len(held_out)))]
        copies = [trained.decode(trained.encode(sound).codes) for sound in sounds]
        ratios = [float(quality.si_sdr(s[: len(c)], c)) for s, c in zip(sounds, copies, strict=True)]
        heard = [ratio for ratio in ratios if np.isfinite(ratio)]  # a silent window has no ratio
        return {"si_sdr": float(np.mean(heard))} if heard else {}

    def start(name: str) -> tuple[PyTree, PyTree]:
        other = AudioTokenizer.from_pretrained(name)
        return other.params, {"codebooks": other.codebooks}

    return Recipe(
        init=lambda key: init_variables(model, key)["params"],
        loss_fn=make_loss(config),
        extra=initial_extra(config),
        batches=make_loader(
            clips(config, "train", sound=True),
            batch_size=config.train.batch_size,
            seed=config.seed,
            random_transform=crop,
        ),
        preview=preview,
        export=lambda params, extra, directory: AudioTokenizer(
            config.model.to_dict(), params, extra["codebooks"]
        ).save_pretrained(directory),
        start=start,
    )


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
        export=lambda params, extra, directory: TextEncoder(config.model.to_dict(), params, pieces).save_pretrained(
            directory
        ),
        start=lambda name: (TextEncoder.from_pretrained(name, "float32").params, {}),
    )


def language_model(config: ConfigDict) -> Recipe:
    """Token records → sequences, a batch of one task at a time; the text encoder runs, frozen, inside the step."""
    from videopoet_jax.data.loader import Part, mixture
    from videopoet_jax.data.token_records import TokenSource
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

    def transform(name: str) -> Callable[[dict], dict]:
        layout = layout_of(config, get_task(name))
        blank = {"empty_text_ids": empty.ids[0], "empty_text_mask": empty.mask[0]}
        return lambda record: assemble_record(layout, record) | blank

    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=make_loss(config, lambda params, ids, mask: encoder.model.apply({"params": params}, ids, mask)),
        extra={"text_encoder": encoder.params},
        batches=mixture(
            [
                Part(source, weight, config.train.batch_size, transform(name))
                for name, weight in sorted(data.tasks.items())
            ],
            seed=config.seed,
        ),
        preview=None,
        export=lambda params, extra, directory: LanguageModel(
            config.model.to_dict(), params, source.meta["digests"]
        ).save_pretrained(directory),
        start=lambda name: (LanguageModel.from_pretrained(name).params, {"text_encoder": encoder.params}),
    )


def layout_of(config: ConfigDict, task: Any) -> Any:
    """The layout of a language model's config for one of its tasks."""
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.sequence import Grid, layout_for

    data = config.data
    grid = Grid(data.num_frames, data.height, data.width, data.spatial_stride, data.audio_levels)
    vocabulary = PrefixLM(**config.model).vocabulary
    source = "moving_digits" if data.source == "moving_digits" else "video"
    return layout_for(task, grid, vocabulary=vocabulary, text_length=data.text_length, source=source)


def assemble_record(layout: Any, record: dict) -> dict:
    """One token record as an example of a layout; what only people read is left out."""
    from videopoet_jax.sequence import assemble

    wanted = ("video", "audio", "text_ids", "text_mask")
    return assemble(layout, {name: record[name] for name in wanted})


def _only(*names: str) -> Callable[[dict], dict]:
    """A transform that keeps these entries of an example."""
    return lambda example: {name: example[name] for name in names}


def recipe_for(config: ConfigDict, workdir: Path) -> Recipe:
    """The recipe of a config's `model_type`."""
    match config.model_type:
        case "videopoet_video_tokenizer":
            return video_tokenizer(config)
        case "videopoet_audio_tokenizer":
            return audio_tokenizer(config)
        case "videopoet_text_encoder":
            return text_encoder(config, workdir)
        case "videopoet_lm":
            return language_model(config)
    raise ValueError(f"model_type {config.model_type!r}: nothing here trains one; see the configs that ship.")
