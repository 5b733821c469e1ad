"""A checkpoint of any model of the library → that model, without its data and its run: its config lies in it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from videopoet_jax.parallel import check_fits
from videopoet_jax.pretrained.files import unflatten
from videopoet_jax.training.saved import Saved

PREFIXES = {"ema": "ema_params.", "raw": "params."}


def model_of(saved: Saved, workdir: Path, params: str | None) -> tuple[Any, str]:
    """The model, to be saved elsewhere, and which parameters it has.

    Those of a language model or a text encoder stay in the checkpoint until they are written.

    Args:
        workdir: the run's; a text encoder's vocabulary lies there.
        params: "ema" or "raw"; None is the average where there is one, as `videopoet train --export` has it.

    Raises:
        ValueError: no average in the checkpoint, no config of a model of ours, or other parameters than that model has.
    """
    average = any(name.startswith(PREFIXES["ema"]) for name in saved.arrays)
    which = params or ("ema" if average else "raw")
    if which == "ema" and not average:
        raise ValueError(f"{saved.folder}: keeps no moving average (train.ema_decay was 0); take --params raw.")
    config = saved.config if isinstance(saved.config, Mapping) else {}
    kind, fields = config.get("model_type"), config.get("model")
    if config.get("train", {}).get("lora", {}).get("rank"):
        raise ValueError(
            f"{saved.folder}: holds adapters (train.lora) and not the weights they belong to; give --export, or "
            f"--export-adapters, to the same `videopoet train` command, which merges them."
        )
    tree, extra = _below(saved, PREFIXES[which]), _below(saved, "extra.")
    match kind:
        case "videopoet_lm":
            from videopoet_jax.lm.language_model import DIGESTS, LanguageModel, init_params

            if DIGESTS not in config:
                raise ValueError(
                    f"{saved.folder}: does not name the tokenizers it was trained with; give --export to the same "
                    f"`videopoet train` command instead, which reads them from the records."
                )
            lm = LanguageModel(fields, tree, config[DIGESTS])
            check_fits(tree, partial(init_params, lm.model), saved.folder)
            return lm, which
        case "videopoet_text_encoder":
            from videopoet_jax.text.embed import TextEncoder, init_params
            from videopoet_jax.text.vocabulary import FILE, Pieces

            encoder = TextEncoder(fields, tree, Pieces.load(workdir / FILE))
            check_fits(tree, partial(init_params, encoder.model), saved.folder)
            return encoder, which
        case "videopoet_video_tokenizer":
            from videopoet_jax.video.model import build, init_params
            from videopoet_jax.video.tokenizer import VideoTokenizer

            check_fits(tree, partial(init_params, build(fields)), saved.folder)
            return VideoTokenizer(fields, tree, "float32"), which
        case "videopoet_audio_tokenizer":
            from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables

            sounds = AudioTokenizer(fields, tree, extra["codebooks"])
            check_fits(tree, lambda key: init_variables(sounds.model, key)["params"], saved.folder)
            return sounds, which
    raise ValueError(f"{saved.folder}: its config has model_type {kind!r}, which no model here has; use a run of ours.")


def _below(saved: Saved, prefix: str) -> dict[str, Any]:
    return unflatten({name.removeprefix(prefix): a for name, a in saved.arrays.items() if name.startswith(prefix)})
