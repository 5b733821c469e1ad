"""`videopoet tasks`: what each task reads and writes, as sequences of tokens."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("names", metavar="[TASK]…", nargs=-1)
@click.option("--config", "spec", default="lm:300m", show_default=True, help="The language model's config.")
@click.option("--num-frames", type=int, help="By default the config's, like the height and the width.")
@click.option("--height", type=int)
@click.option("--width", type=int)
@click.option("--silent", is_flag=True, help="Of clips without sound.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def command(names, spec, num_frames, height, width, silent, report) -> None:
    """Show the sequence of each TASK, by default of all that such a clip is long enough for, and has the sound for:
    markers, how many tokens stand between, lengths.

    Left of the arrow is the prefix, which all of its tokens see whole; right of it the output, which is written token
    by token and is what the loss is of.
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_of
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.pretrained.files import write_atomically
    from videopoet_jax.sequence import TASKS, get_task, load_plugins
    from videopoet_jax.sequence.layout import check_frames

    check_targets(report)
    config = load_config(spec, needs=("data.audio_levels", "data.text_length"))
    asked = {"num_frames": num_frames, "height": height, "width": width, "audio_levels": 0 if silent else None}
    config.data.update({name: value for name, value in asked.items() if value is not None})
    load_plugins()
    tasks = [get_task(name) for name in dict.fromkeys(names) or TASKS]
    data, every = config.data, layouts_of(config)
    if silent and names and (mute := [task.name for task in tasks if task.needs_sound]):
        raise ValueError(f"task {mute[0]} of a silent clip: sound is all that it reads, or writes; leave --silent.")
    grid = every.grid(data.num_frames, data.height, data.width)
    check_frames(grid.frames)
    layouts, unfit = [], []
    for task in tasks:
        if task.needs_sound and not data.audio_levels and not names:
            continue
        try:
            layouts.append(every.layout(task, grid))
        except ValueError as error:
            if names:
                raise
            unfit.append(error)
    for error in unfit:
        click.echo(f"left out: {error}", err=True)
    for layout in layouts:
        grid = layout.grid
        click.echo(f"{layout.task.name}  {grid.frames}×{grid.height}×{grid.width}")
        lengths = (layout.prefix_length, layout.length - layout.prefix_length, layout.length)
        click.echo("  {:,} → {:,}, {:,} in all".format(*lengths))
        click.echo(f"  {layout.show(output=False)}\n  → {layout.show(output=True)}\n")
    if report:
        rows = [_row(layout) for layout in layouts]
        write_atomically(report, lambda path: path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n"))


def _row(layout) -> dict:
    """One task for other programs."""
    grid, sound = layout.grid, bool(layout.grid.audio_levels)
    return {
        "task": layout.task.name,
        "frames": grid.frames,
        "height": grid.height,
        "width": grid.width,
        "latents": grid.latents,
        "reads": [*(["text"] if layout.task.text else []), *(s.key for s in layout.task.reads)],
        "record": [*(["text"] if layout.task.needs_text else []), *layout.task.keys(sound)],
        "prefix_length": layout.prefix_length,
        "length": layout.length,
        "prefix": layout.show(output=False),
        "output": layout.show(output=True),
    }
