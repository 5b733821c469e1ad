"""`videopoet curves`: the logs of training runs as one PNG."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The PNG to write.")
@click.option("--only", multiple=True, metavar="FIGURE", help="Such as psnr or eval/psnr; all figures unless given.")
def command(runs, out, only) -> None:
    """Draw every logged figure of RUNS (workdirs of `videopoet train`) against the step: a plot each, a line a run."""
    from videopoet_jax.evaluate.sheets import save_curves

    curves: dict[str, tuple[list, list]] = {}
    for run, line in zip(runs, labels(runs), strict=True):
        for name, step, value in figures(run / "metrics.jsonl"):
            if not only or name in only:
                steps, values = curves.setdefault(f"{name}/{line}", ([], []))
                steps.append(step)
                values.append(value)
    if not curves:
        raise ValueError(f"--only {', '.join(only)}: no run has such a figure; leave it out to see all of them.")
    save_curves(out, curves)
    click.echo(f"wrote {out}")


def labels(runs: Sequence[Path]) -> list[str]:
    """The last name of each path, with those before it where two would be alike: `x/a y/a z → x a, y a, z`"""
    names = [run.resolve().parts for run in runs]
    short = [name[-1] for name in names]
    return [part if short.count(part) == 1 else " ".join(name[-2:]) for part, name in zip(short, names, strict=True)]


def figures(log: Path) -> Iterator[tuple[str, int, float]]:
    """(name, step, value) of every figure in a `metrics.jsonl`."""
    for number, line in enumerate(log.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
            step = record.pop("step")
        except (ValueError, KeyError) as error:
            raise ValueError(f"{log}, line {number}: no log of a step ({error}); remove the line.") from error
        for name, value in record.items():
            yield name, step, value
