"""`videopoet data`: what the language model is trained on."""

import json
from pathlib import Path

import click

from videopoet_jax.cli.data_curate import command as curate
from videopoet_jax.cli.data_prepare import command as prepare
from videopoet_jax.cli.data_show import command as show


@click.group()
def command() -> None:
    """Prepare training data, and look at it."""


command.add_command(curate)
command.add_command(prepare)
command.add_command(show)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--num-frames", type=click.IntRange(1), default=17, show_default=True, help="Frames of a window.")
@click.option("--fps", type=float, default=8.0, show_default=True, help="Frames a second of the windows.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def stats(folder, num_frames, fps, report) -> None:
    """Say what can be trained on in a FOLDER of videos; they are read no further than to the first sound."""
    from videopoet_jax.data.clip_files import find_clips, read_captions
    from videopoet_jax.data.media import MediaError, is_silent, probe
    from videopoet_jax.data.sources import HELD_OUT_FRAMES
    from videopoet_jax.pretrained.files import write_atomically

    least = (num_frames + HELD_OUT_FRAMES) / fps  # seconds: a window to train on, and what is held out
    usable, with_sound, files = [], 0, find_clips(folder)
    for file in files:
        try:
            info = probe(file.path)
        except (MediaError, OSError) as error:
            click.echo(f"left out: {error}", err=True)
            continue
        if info.duration < least:
            click.echo(f"left out: {file.path}: {info.duration:.1f} s, at least {least:.1f} s are needed", err=True)
            continue
        usable.append(info)
        try:
            with_sound += info.has_audio and not is_silent(file.path, end=info.duration)
        except MediaError as error:
            click.echo(f"without its sound: {error}", err=True)
    figures = {
        "files": len(files),
        "usable": len(usable),
        "seconds": round(sum(info.duration for info in usable), 1),
        "with_sound": with_sound,
        "captions": len(read_captions(folder)),
    }
    if not usable:
        raise ValueError(
            f"{folder}: none of its {len(files)} videos has {least:.1f} s that can be read; add longer ones."
        )
    if report:
        write_atomically(report, lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))
    click.echo(
        f"{folder}: {figures['usable']} of {figures['files']} videos can be used, {figures['seconds']:.0f} s in all, "
        f"{figures['with_sound']} with sound; {figures['captions']} captions."
    )
