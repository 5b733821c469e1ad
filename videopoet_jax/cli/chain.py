"""`videopoet chain`: tasks one after another, each on what the one before it made."""

import time
from pathlib import Path

import click

from videopoet_jax.cli.given import media_files, media_options, read_given, warn_plainly
from videopoet_jax.cli.targets import check_targets


@click.command()
@click.argument("chain")
@click.option("--model", default="nano", show_default=True, help="A shipped name or a directory of save_pretrained.")
@click.option("--out-dir", type=click.Path(path_type=Path), default=Path("chain"), show_default=True,
              help="Where every step's clip goes: 1_image_to_video.mp4, 2_stylization.mp4, …")  # fmt: skip
@media_options
@click.option("--guidance-scale", type=float, help="1 is none; by default the model's own.")
@click.option("--temperature", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--seed", type=int, default=0, show_default=True)
def command(chain, model, out_dir, image, last_image, video, audio, mask, structure, **options):
    """Tasks one after another, as in

    \b
        videopoet chain "image_to_video: a red 3 moving left → stylize: blue → outpaint(vertical) → video_to_audio" \\
            --image three.png

    Image, video, sound and mask are the first step's. A step sees no prompt but its own, and what it does not write
    stays as it was. Every step's clip is written as soon as it is made.
    """
    from videopoet_jax.generate.chain import parse, run
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.training.compilation import use_compilation_cache

    steps = parse(chain)
    targets = [out_dir / f"{number}_{step.task}{_suffix(step)}" for number, step in enumerate(steps, start=1)]
    files = dict(image=image, last_image=last_image, video=video, audio=audio, mask=mask, structure=structure)
    check_targets(*targets, inputs=media_files(files))
    warn_plainly()
    use_compilation_cache()
    vp = VideoPoet.from_pretrained(model)
    vp.trained_task(steps[0].task)
    given = read_given(vp.settings, steps[0].task, files)
    started = time.perf_counter()
    for number, (target, clip) in enumerate(zip(targets, run(vp, steps, **given, **options), strict=True), start=1):
        clip.save(target)
        click.echo(f"wrote {target}" + (f": {clip.caption}" if clip.caption is not None else ""))
        left = (time.perf_counter() - started) / number * (len(steps) - number)
        click.echo(f"step {number}/{len(steps)} · {left:.0f} s left", err=True)


def _suffix(step) -> str:
    return ".png" if step.task == "text_to_image" else ".mp4"
