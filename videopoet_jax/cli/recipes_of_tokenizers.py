"""Recipes of the video and the audio tokenizer, and of the discriminators they train against."""

import functools
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.cli.configuration import require
from videopoet_jax.cli.recipes import AdversaryRecipe, PyTree, Recipe
from videopoet_jax.cli.sources import augmentation, clips, sounds
from videopoet_jax.data.loader import Part, Stream, make_loader, mixture


def video_tokenizer(config: ConfigDict) -> Recipe:
    """Frames → codes → frames."""
    from videopoet_jax.data.augment import one_frame
    from videopoet_jax.evaluate import quality, sheets
    from videopoet_jax.video import losses
    from videopoet_jax.video.inflation import inflate
    from videopoet_jax.video.model import build, init_params
    from videopoet_jax.video.tokenizer import VideoTokenizer

    model, data = build(config.model.to_dict()), require(config, "data.image_share", "data.images_per_clip").data
    model.grid(data.num_frames, data.height, data.width)  # a size that does not fit is told now
    if (whole := model.filled_frames(data.num_frames)) != data.num_frames:
        raise ValueError(
            f"data.num_frames {data.num_frames}: this tokenizer would fill such clips up; train on ones that it takes "
            f"as they are, such as --set data.num_frames={whole}."
        )
    adversary = config.adversary.to_dict() if config.adversary.weight else None
    perceptual = perceptual_distance(config) if config.loss.perceptual else None
    extra = losses.initial_extra(perceptual)

    untrained = VideoTokenizer(config.model.to_dict(), {})  # its compiled programs serve every preview

    def preview(params: PyTree, extra: PyTree, folder: Path, step: int) -> dict[str, float]:
        held_out = clips(config, "held_out", size=8)
        spread = np.linspace(0, len(held_out) - 1, min(8, len(held_out)), dtype=int)  # of a folder: several films
        video = np.stack([held_out[i]["video"] for i in spread.tolist()])
        trained = untrained.with_params(params)
        copies = trained.decode(trained.encode(video).codes)
        # Clips below each other, single pictures side by side.
        pairs = [(video[:, 0], copies[:, 0])] if data.num_frames == 1 else zip(video, copies, strict=True)
        rows = [row for true, copy in pairs for row in (sheets.Row("true", true), sheets.Row("decoded", copy))]
        sheets.save_contact_sheet(folder / f"{step:08d}.png", rows)
        return {"psnr": float(np.mean(quality.psnr_clip(video, copies)))}

    def start(name: str) -> tuple[PyTree, PyTree]:
        image = VideoTokenizer.from_pretrained(name, "float32")
        return inflate(image.params, image.model, model), extra

    source, views, rows = clips(config, "train"), augmentation(config), config.train.batch_size
    pictures = rows * data.images_per_clip
    stream = Stream(source, transform=_only("video"), random_transform=views)
    parts = [Part([stream], 1 - data.image_share, rows if data.num_frames > 1 else pictures)]
    if data.image_share:
        parts.append(Part([stream._replace(random_transform=one_frame(views))], data.image_share, pictures))
    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=losses.make_loss(model, config.loss.to_dict(), adversary=adversary, perceptual=perceptual),
        extra=extra,
        batches=mixture(parts, seed=config.seed),
        preview=preview,
        trained=lambda params, extra: VideoTokenizer(config.model.to_dict(), params, "float32"),  # as they are
        start=start,
        adversary=adversary and video_adversary(config, adversary),
    )


def video_adversary(config: ConfigDict, adversary: dict) -> AdversaryRecipe:
    """The discriminator of clips."""
    from videopoet_jax.video import losses

    data = config.data
    clip = (1, data.num_frames, data.height, data.width, 3)

    def init(key: jax.Array) -> PyTree:
        return losses.discriminator(adversary).init(key, jnp.zeros(clip))["params"]

    return AdversaryRecipe(init, losses.make_adversary_loss(adversary), losses.initial_adversary_extra())


def perceptual_distance(config: ConfigDict) -> Any:
    """LPIPS with the weights that a config names."""
    from videopoet_jax.layers.lpips import load_lpips
    from videopoet_jax.video.losses import perceptual_of

    network = Path(config.loss.perceptual_network)
    if not (network / "config.json").is_file():
        raise ValueError(
            f"loss.perceptual_network {network}: no weights of LPIPS there; fetch them with ./launch/fetch_weights.sh "
            f"{network.parent}, name their folder, or train without with --set loss.perceptual=0."
        )
    return perceptual_of(*load_lpips(network), config.loss.perceptual_frames)


def audio_tokenizer(config: ConfigDict) -> Recipe:
    """Sound → codes → sound, on random crops."""
    from videopoet_jax.audio.crops import make_crop
    from videopoet_jax.audio.losses import init_adversary, initial_extra, make_adversary_loss, make_loss
    from videopoet_jax.audio.soundstream import SoundStream
    from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
    from videopoet_jax.layers.distortion import si_sdr

    check_sound(config)
    model, data = SoundStream(**config.model), config.data
    crop = make_crop(
        samples=data.crop,
        start_share=data.start_share,
        transient_share=data.transient_share,
        peak_normalise=data.peak_normalise,
        quietest=data.quietest,
    )

    def tokenizer(params: PyTree, extra: PyTree) -> AudioTokenizer:
        return AudioTokenizer(config.model.to_dict(), params, extra["codebooks"])

    def preview(params: PyTree, extra: PyTree, folder: Path, step: int) -> dict[str, float]:
        trained = tokenizer(params, extra)
        held_out = sounds(config, "held_out", size=8)
        spread = np.linspace(0, len(held_out) - 1, min(8, len(held_out)), dtype=int)  # of a folder: several files
        truths = [held_out[i]["audio"] for i in spread.tolist()]
        copies = [trained.decode(trained.encode(truth).codes) for truth in truths]
        truths = [truth[: len(copy)] for truth, copy in zip(truths, copies, strict=True)]
        ratios = [float(si_sdr(truth, copy)) for truth, copy in zip(truths, copies, strict=True)]
        draw_sounds(folder / f"{step:08d}.png", truths, copies, ratios, trained.sample_rate)
        heard = [ratio for ratio in ratios if np.isfinite(ratio)]  # a silent window has no ratio
        return {"si_sdr": float(np.mean(heard))} if heard else {}

    def start(name: str) -> tuple[PyTree, PyTree]:
        other = AudioTokenizer.from_pretrained(name)
        return params_of(other, model, name), {**initial_extra(config), "codebooks": other.codebooks}

    return Recipe(
        init=lambda key: init_variables(model, key)["params"],
        loss_fn=make_loss(config),
        extra=initial_extra(config),
        batches=make_loader(
            sounds(config, "train"),
            batch_size=config.train.batch_size,
            seed=config.seed,
            random_transform=crop,
        ),
        preview=preview,
        trained=tokenizer,
        start=start,
        adversary=AdversaryRecipe(functools.partial(init_adversary, config), make_adversary_loss(config), {})
        if config.adversary.weight
        else None,
    )


def draw_sounds(
    path: Path, truths: list[np.ndarray], copies: list[np.ndarray], ratios: list[float], sample_rate: int
) -> None:
    """A PNG of spectrograms, each of them from 60 dB below its own peak: truths above copies, four in a row."""
    from videopoet_jax.evaluate import sheets

    draw = functools.partial(sheets.spectrogram, sample_rate=sample_rate, height=160, width=320)
    rows = []
    for first in range(0, len(truths), 4):
        shown = slice(first, first + 4)
        told = ", ".join(f"{ratio:.1f}" if np.isfinite(ratio) else "–" for ratio in ratios[shown])
        for text, heard in (("true", truths), (f"decoded: SI-SDR {told} dB", copies)):
            rows.append(sheets.Row(text, np.stack([draw(sound) for sound in heard[shown]])))
    sheets.save_contact_sheet(path, rows, columns=4, frame_height=160)


def check_sound(config: ConfigDict) -> None:
    """Raises unless the data have the model's sample rate and crops are whole frames of it."""
    from videopoet_jax.data.moving_digits import SAMPLE_RATE

    model, data = config.model, require(config, "data.source", "data.sample_rate", "data.crop").data
    if data.source == "moving_digits" and data.sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"data.sample_rate {data.sample_rate:,}: moving_digits sounds at {SAMPLE_RATE:,} Hz; keep that, or choose "
            f"a folder with --set data.source=folder --set data.root=DIRECTORY."
        )
    if model.sample_rate != data.sample_rate:
        raise ValueError(
            f"model.sample_rate {model.sample_rate:,}: the sounds to train on have {data.sample_rate:,} Hz, and both "
            f"must be one; --set model.sample_rate={data.sample_rate}, or --set data.sample_rate={model.sample_rate}."
        )
    frame = math.prod(model.strides)
    if data.crop < frame or data.crop % frame:
        raise ValueError(
            f"data.crop {data.crop:,}: a multiple of the {frame:,} samples of a frame (the product of model.strides) "
            f"is needed; --set data.crop={max(1, data.crop // frame) * frame}."
        )


def params_of(tokenizer: Any, model: Any, name: str) -> PyTree:
    """The parameters of an `AudioTokenizer` for a `SoundStream` of its sizes to start from.

    A model that shall learn to denoise, from one that has not, starts with FiLM as the identity.

    Raises:
        ValueError: the two differ in a field that the weights depend on.
    """
    import flax.linen as nn

    from videopoet_jax.audio.soundstream import Film

    learns_to = model.denoise and not tokenizer.denoises
    fields = ("channels", "dim", "strides", "dilations", "kernel_size", "levels", "codebook_size")
    for field in fields if learns_to else (*fields, "denoise"):
        wanted, found = getattr(model, field), getattr(tokenizer.model, field)
        if wanted != found:
            raise ValueError(
                f"model.{field} {wanted}: the weights of {name} have {found} and fit no other; "
                f"--set {shlex.quote(f'model.{field}={found}'.replace(', ', ','))}, or train without --init."
            )
    if not learns_to:
        return tokenizer.params
    fresh = Film().init(jax.random.key(0), jnp.zeros((1, 1, model.dim)), jnp.zeros((1,), bool))
    return {**tokenizer.params, "film": nn.meta.unbox(fresh)["params"]}


def _only(*names: str) -> Callable[[dict], dict]:
    """A transform that keeps these entries of an example."""
    return lambda example: {name: example[name] for name in names}
