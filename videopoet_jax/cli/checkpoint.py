"""`videopoet checkpoint`: the steps that a run has saved, whether they are whole, and models made of them."""

import json
import os
import time
from pathlib import Path

import click

from videopoet_jax.cli.targets import Place


@click.group()
def command() -> None:
    """Look at the checkpoints of a training run, and make models of them."""


WORKDIR = click.argument("workdir", type=Place(exists=True))
STEP = click.option("--step", type=click.IntRange(0), help="Which step; by default the newest finished one.")


@command.command("list")
@WORKDIR
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list of objects.")
def list_(workdir: os.PathLike, as_json: bool) -> None:
    """The steps in WORKDIR: how old, how large, whether complete, damaged or partial (being written, or killed).

    Sizes of files are compared, what is in them is not: see `verify`.
    """
    from videopoet_jax.training.metrics import duration
    from videopoet_jax.training.saved import listed

    now, found = time.time(), listed(workdir)
    if as_json:
        rows = [one._asdict() | {"folder": str(one.folder), "age_seconds": round(now - one.written)} for one in found]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found:
        click.echo(f"no checkpoints in {workdir}")
    for one in found:
        size, age = f"{one.size / 1e6:,.1f} MB", duration(now - one.written)
        click.echo(f"{one.step:>10}  {age:>12}  {size:>14}  {one.state:8}  {one.problem}".rstrip())


@command.command()
@WORKDIR
@click.option("--step", type=click.IntRange(0), help="Which step; by default all that were finished.")
def verify(workdir: os.PathLike, step: int | None) -> None:
    """Compare the files of WORKDIR's checkpoints, and the digest of each, with what was saved.

    A step without a manifest fails, too: it was never finished, has lost it, or a run is at it.
    """
    from videopoet_jax.training import manifest
    from videopoet_jax.training.folders import gone
    from videopoet_jax.training.saved import directory_of, existing, listed, while_kept

    folders = [one.folder for one in listed(workdir) if one.folder.name.isdigit()]
    chosen = folders if step is None else [existing(directory_of(workdir), step)]
    if not chosen:
        raise manifest.CheckpointError(
            f"{workdir}: no finished step in it; give the folder of a run that has saved one."
        )
    damage = []
    for folder in chosen:
        number = int(folder.name)
        try:
            with while_kept(folder):
                files = manifest.verify(folder)["files"]
                if more := manifest.added(folder):
                    raise manifest.CheckpointError(more)
        except manifest.CheckpointError as error:
            if step is None and gone(folder):
                click.echo(f"step {number}: removed by its run meanwhile")
                continue
            damage.append(error)
            finished = (folder / manifest.NAME).exists()
            click.echo(f"step {number}: {'damaged' if finished else f'no {manifest.NAME}'}")
        else:
            size = sum(size for size, _ in files.values())
            click.echo(f"step {number}: {len(files)} files, {size / 1e6:,.1f} MB, intact")
    if damage:
        raise damage[0]


@command.command()
@WORKDIR
@STEP
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The model's directory to write.")
@click.option("--params", type=click.Choice(["ema", "raw"]),
              help="The moving average, or what the step left; by default the average where there is one.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
@click.option("--max-shard-size", default="2GB", show_default=True, help="Of a file of weights, and held in memory.")
def convert(
    workdir: os.PathLike, step: int | None, out: Path, params: str | None, dtype: str, max_shard_size: str
) -> None:
    """Make a model of a checkpoint: a directory for from_pretrained and `videopoet export`.

    Neither the data nor an accelerator is needed, and the run may go on meanwhile.
    """
    import jax

    from videopoet_jax.cli.saved_models import model_of
    from videopoet_jax.pretrained.saving import as_bytes
    from videopoet_jax.training.folders import Workdir
    from videopoet_jax.training.saved import open_step

    jax.config.update("jax_platforms", "cpu")  # an accelerator may be busy with the run
    most = as_bytes(max_shard_size)
    saved = open_step(workdir, step)
    with Workdir(workdir) as here:  # a text encoder's vocabulary lies beside its checkpoints
        model, which = model_of(saved, here.local, params)
        model.save_pretrained(out, dtype=dtype, max_shard_size=most)
    size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
    click.echo(f"wrote {out}: step {saved.step}, {which} parameters, {size / 1e6:.1f} MB")
