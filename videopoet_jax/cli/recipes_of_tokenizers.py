"""Recipes of the video and the audio tokenizer, and of the discriminators they train against."""

import functools
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
from videopoet_jax.data.loader import Part, make_loader, mixture


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
        rows = [sheets.Row(n, v) for t, c in zip(video, copies, strict=True) for n, v in (("true", t), ("decoded", c))]
        sheets.save_contact_sheet(folder / f"{step:08d}.png", rows)
        return {"psnr": float(np.mean(quality.psnr_clip(video, copies)))}

    def start(name: str) -> tuple[PyTree, PyTree]:
        image = VideoTokenizer.from_pretrained(name, "float32")
        return inflate(image.params, image.model, model), extra

    source, views, rows = clips(config, "train"), augmentation(config), config.train.batch_size
    pictures = rows * data.images_per_clip
    parts = [Part(source, 1 - data.image_share, rows if data.num_frames > 1 else pictures, _only("video"), views)]
    if data.image_share:
        parts.append(Part(source, data.image_share, pictures, _only("video"), one_frame(views)))
    return Recipe(
        init=functools.partial(init_params, model),
        loss_fn=losses.make_loss(model, config.loss.to_dict(), adversary=adversary, perceptual=perceptual),
        extra=extra,
        batches=mixture(parts, seed=config.seed),
        preview=preview,
        trained=lambda params, extra: untrained.with_params(params),
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
    from videopoet_jax.video.losses import Perceptual

    network = Path(config.loss.perceptual_network)
    if not (network / "config.json").is_file():
        raise ValueError(
            f"loss.perceptual_network {network}: no weights of LPIPS there; fetch them with ./launch/fetch_weights.sh "
            f"{network.parent}, name their folder, or train without with --set loss.perceptual=0."
        )
    model, params = load_lpips(network)
    return Perceptual(lambda p, a, b: model.apply({"params": p}, a, b), params, config.loss.perceptual_frames)


def audio_tokenizer(config: ConfigDict) -> Recipe:
    """Sound → codes → sound, on random crops."""
    from videopoet_jax.audio.crops import make_crop
    from videopoet_jax.audio.losses import init_adversary, initial_extra, make_adversary_loss, make_loss
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

    def tokenizer(params: PyTree, extra: PyTree) -> AudioTokenizer:
        return AudioTokenizer(config.model.to_dict(), params, extra["codebooks"])

    def preview(params: PyTree, extra: PyTree, folder: Path, step: int) -> dict[str, float]:
        trained = tokenizer(params, extra)
        held_out = sounds(config, "held_out", size=8)
        spread = np.linspace(0, len(held_out) - 1, min(8, len(held_out)), dtype=int)  # of a folder: several files
        truths = [held_out[i]["audio"] for i in spread.tolist()]
        copies = [trained.decode(trained.encode(truth).codes) for truth in truths]
        ratios = [float(quality.si_sdr(t[: len(c)], c)) for t, c in zip(truths, copies, strict=True)]
        heard = [ratio for ratio in ratios if np.isfinite(ratio)]  # a silent window has no ratio
        return {"si_sdr": float(np.mean(heard))} if heard else {}

    def start(name: str) -> tuple[PyTree, PyTree]:
        other = AudioTokenizer.from_pretrained(name)
        return other.params, {**initial_extra(config), "codebooks": other.codebooks}

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


def _only(*names: str) -> Callable[[dict], dict]:
    """A transform that keeps these entries of an example."""
    return lambda example: {name: example[name] for name in names}
