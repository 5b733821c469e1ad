"""`videopoet export`: the models of a directory and a pipeline's settings → a directory for `VideoPoet`."""

from pathlib import Path

import click


@click.command()
@click.option("--config", "spec", required=True, help="The pipeline's settings, such as pipeline:nano.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--models", required=True, type=click.Path(path_type=Path),
              help="Directory with video_tokenizer, audio_tokenizer, text_encoder and lm.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory to write.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
def command(spec, overrides, models, out, dtype) -> None:
    """Join trained models into one directory, which `VideoPoet.from_pretrained` and `--model` take."""
    from videopoet_jax.audio.tokenizer import AudioTokenizer
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.generate.inputs import Settings
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.lm.language_model import LanguageModel
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.text.embed import TextEncoder
    from videopoet_jax.video.tokenizer import VideoTokenizer

    settings = load_config(spec, overrides, needs=("grammar", "tasks")).to_dict()
    lm = LanguageModel.from_pretrained(models / "lm")
    check_digests(models, lm.tokenizers, "the language model was trained with")
    vp = VideoPoet(
        Settings(**settings),
        VideoTokenizer.from_pretrained(models / "video_tokenizer", "float32"),
        AudioTokenizer.from_pretrained(models / "audio_tokenizer"),
        TextEncoder.from_pretrained(models / "text_encoder", "float32"),
        lm,
    )
    vp.save_pretrained(out, dtype)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    click.echo(f"wrote {out}: {size / 1e6:.1f} MB")
