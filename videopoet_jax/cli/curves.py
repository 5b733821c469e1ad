"""`videopoet curves`: the logs of training runs as one PNG."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The PNG to write.")
def command(runs, out) -> None:
    """Draw every logged figure of RUNS (workdirs of `videopoet train`) against the step."""
    from videopoet_jax.evaluate.sheets import save_curves

    curves: dict[str, tuple[list, list]] = {}
    for run in runs:
        log = run / "metrics.jsonl"
        for number, line in enumerate(log.read_text().splitlines(), start=1):
            try:
                record = json.loads(line)
                step = record.pop("step")
            except (ValueError, KeyError) as error:
                raise ValueError(f"{log}, line {number}: no log of a step ({error}); remove the line.") from error
            for name, value in record.items():
                steps, values = curves.setdefault(f"{run} {name}", ([], []))
                steps.append(step)
                values.append(value)
    save_curves(out, curves)
    click.echo(f"wrote {out}")
