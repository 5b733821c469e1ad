"""`videopoet export`: the models of a directory and a pipeline's settings → a directory for `VideoPoet`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--models", required=True,
              help="Directory with video_tokenizer, audio_tokenizer, text_encoder and lm, or a shipped name; lm may be "
              "the --workdir of a training run.")  # fmt: skip
@click.option("--config", "spec", help="The pipeline's settings, such as pipeline:nano; by default those that the "
              "directory has.")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of --config.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory to write.")
@click.option("--params", type=click.Choice(["ema", "raw"]),
              help="Of a run: the moving average, or what its newest checkpoint's last step left; by default the "
              "average where there is one.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
@click.option("--max-shard-size", default="2GB", show_default=True, help="Of a file of weights, and held in memory.")
@click.option("--stablehlo", is_flag=True,
              help="Also write programs that need jax alone: OUT/stablehlo, for each tokenizer's encode and decode, "
              "the text encoder, and the language model's decoding of --task.")  # fmt: skip
@click.option("--task", "tasks", multiple=True, help="Of --stablehlo: the tasks to decode; by default the first.")
@click.option("--platform", "platforms", multiple=True, type=click.Choice(["cpu", "cuda", "tpu"]),
              help="Of --stablehlo: where they shall run; by default on all three.")  # fmt: skip
@click.option("--compute-dtype", type=click.Choice(["bfloat16", "float32"]), default="float32", show_default=True,
              help="Of --stablehlo: what they compute in.")  # fmt: skip
def command(
    models, spec, overrides, out, params, dtype, max_shard_size, stablehlo, tasks, platforms, compute_dtype
) -> None:
    """Join trained models into one directory, which `VideoPoet.from_pretrained` and `--model` take.

    Files are named as Hugging Face's, weights are written layer by layer.
    """
    from videopoet_jax.pretrained.saving import as_bytes

    most = as_bytes(max_shard_size)
    if (tasks or platforms) and not stablehlo:
        raise ValueError(f"{' '.join((*tasks, *platforms))}: asks for programs; add --stablehlo.")
    vp = pipeline_of(models, spec, overrides, params)
    for task in tasks:
        vp.trained_task(task)
    vp.save_pretrained(out, dtype, most)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    click.echo(f"wrote {out}: {size / 1e6:.1f} MB")
    if stablehlo:
        written = programs_of(out, tasks or vp.settings.tasks[:1], platforms, compute_dtype)
        click.echo(f"wrote {written}: {', '.join(sorted(path.stem for path in written.glob('*.stablehlo')))}")


def programs_of(root: Path, tasks: Sequence[str], platforms: Sequence[str], dtype: str) -> Path:
    """Writes the programs of an exported pipeline beside its models."""
    from videopoet_jax.interop import stablehlo

    vp = pipeline_of(str(root), None, (), None, dtype)
    settings, grid = vp.settings, vp.layouts.grid(*vp.settings.size)
    programs = [
        stablehlo.text_program(vp.text_encoder, settings.text_length, "text_encoder"),
        *stablehlo.video_programs(vp.video_tokenizer, settings.size, "video_tokenizer"),
        *stablehlo.audio_programs(vp.audio_tokenizer, grid.audio_frames, settings.audio_levels, "audio_tokenizer"),
    ]
    for name in tasks:
        task = vp.trained_task(name)
        sampling = vp.sampling(None if task.text else 1.0, None, None, None)
        programs.append(stablehlo.lm_program(vp.lm, vp.layouts.layout(task, grid), sampling, "lm"))
    return stablehlo.write(root, programs, platforms or stablehlo.PLATFORMS)


def pipeline_of(
    models: str, spec: str | None, overrides: tuple[str, ...], params: str | None, dtype: str = "float32"
) -> Any:
    """The `VideoPoet` of a directory of models. Its language model is still on disk: large, and to be copied only.

    Args:
        dtype: of the computation.
    """
    from videopoet_jax.audio.tokenizer import AudioTokenizer
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.generate.inputs import Settings
    from videopoet_jax.generate.pipeline import VideoPoet, read_settings
    from videopoet_jax.lm.language_model import LanguageModel
    from videopoet_jax.pretrained import check_digests, resolve, shipped
    from videopoet_jax.text.embed import TextEncoder
    from videopoet_jax.video.tokenizer import VideoTokenizer

    if overrides and spec is None:
        raise ValueError(f"--set {overrides[0]}: changes a setting of --config, which is not given; give it, too.")
    if spec is not None:
        settings = Settings(**load_config(spec, overrides, needs=("grammar", "tasks")).to_dict())
    else:
        settings = read_settings(resolve(models))
    root = resolve(models) if models in shipped() else Path(models)
    if (root / "lm" / "checkpoints").is_dir():
        lm = model_of_run(root / "lm", params)
    elif params is not None:
        raise ValueError(f"--params {params}: {root / 'lm'} is no training run, its choice was made; leave it out.")
    else:
        lm = LanguageModel.open_pretrained(root / "lm", dtype)
    check_digests(root, lm.tokenizers, "the language model was trained with")
    return VideoPoet(
        settings,
        VideoTokenizer.from_pretrained(root / "video_tokenizer", dtype),
        AudioTokenizer.from_pretrained(root / "audio_tokenizer"),
        TextEncoder.from_pretrained(root / "text_encoder", dtype),
        lm,
    )


def model_of_run(workdir: Path, params: str | None) -> Any:
    """The language model of a run's newest checkpoint."""
    from videopoet_jax.cli.saved_models import model_of
    from videopoet_jax.training.saved import open_step

    model, _ = model_of(open_step(workdir), workdir, params)
    return model
