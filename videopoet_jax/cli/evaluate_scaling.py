"""`videopoet evaluate scaling`: the law that trained language models follow, as a table, a figure and JSON lines."""

import json
from pathlib import Path
from typing import Any

import click


@click.command("scaling")
@click.argument("losses", type=click.Path(dir_okay=False, path_type=Path), metavar="LOSSES")
@click.option("--task", help="Whose loss is fitted. Default: the first of LOSSES.")
@click.option("--scores", type=click.Path(dir_okay=False, path_type=Path),
              help="What `videopoet evaluate tasks --json` wrote of models of the same names.")  # fmt: skip
@click.option("--figure", type=click.Path(path_type=Path), help="Draw losses, the law and the scores (PNG).")
@click.option("--json", "report", type=click.Path(path_type=Path),
              help="Write a line for each model, with its scores, and one of what fits them.")  # fmt: skip
def command(losses: Path, task: str | None, scores: Path | None, figure: Path | None, report: Path | None) -> None:
    """Fit loss = floor + a · size^-alpha + b · tokens^-beta, and the best loss as a power of operations, to LOSSES, the
    JSON lines of `videopoet evaluate losses`.

    Behind each number stands its range when any one of the models is left out.
    """
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.evaluate import scaling
    from videopoet_jax.evaluate.scaling_figure import save_scaling_figure
    from videopoet_jax.pretrained.files import write_atomically

    check_targets(figure, report, inputs=(losses, scores))
    lines = read_lines(losses)
    task = task or next(iter(lines[0]["losses"]))
    models = [of_line(line, task) for line in lines]
    found = read_scores(scores, [line["name"] for line in lines]) if scores else {}
    for line in lines:
        line["scores"] = found.get(line["name"], {})
    law, power = scaling.fit_law(models), scaling.fit_power(scaling.frontier(models))
    ranges = {
        "law": spread(scaling.refits(scaling.fit_law, models)),
        "power": spread(scaling.refits(lambda some: scaling.fit_power(scaling.frontier(some)), models)),
    }
    click.echo(table(lines, models, law))
    click.echo(f"\nloss of {task}, nats a token, N parameters of the layers, D tokens, C operations:")
    click.echo(f"  {numbers(law, ranges['law'])}")
    click.echo(f"  the best for each C: {numbers(power, ranges['power'])}")
    fit = {"task": task, "law": law._asdict(), "power": power._asdict(), "ranges": ranges}
    if report:
        text = "".join(json.dumps(line) + "\n" for line in (*lines, {"fit": fit}))
        write_atomically(report, lambda path: path.write_text(text))
    if figure:
        panels = {
            f"{name}: right": {
                line["name"]: (right["share"], *right["interval"])
                for line in lines
                if (right := line["scores"].get(name, {}).get("right"))
            }
            for name in dict.fromkeys(name for line in lines for name in line["scores"])
        }
        save_scaling_figure(figure, models, law, power, title=f"{task}: nats a token", scores=panels)
        click.echo(f"wrote {figure}", err=True)


def read_lines(path: Path) -> list[dict]:
    """The lines of `videopoet evaluate losses`.

    Raises:
        ValueError: a line that is none, or no line.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            known = {*line} >= {"name", "size", "tokens", "flops", "losses"} and line["losses"]
            nats = known and [found["nats"]["value"] for found in line["losses"].values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            nats = None
        if not nats:
            raise ValueError(f"{path}, line {number}: none of `videopoet evaluate losses --json`; write it anew.")
        lines.append(line)
    if not lines:
        raise ValueError(f"{path}: empty; write it with `videopoet evaluate losses RUN… --json {path}`.")
    return lines


def read_scores(path: Path, names: list[str]) -> dict[str, dict]:
    """The scores of models of these names.

    Raises:
        ValueError: a file of another kind, or without one of them.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in names if not found.get(name)]
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: none of `videopoet evaluate tasks --json`; write it anew.") from None
    if missing:
        raise ValueError(f"{path}: without {', '.join(missing)}; score all models of the losses, under the same names.")
    return found


def of_line(line: dict, task: str) -> Any:
    """The `Trained` of a line.

    Raises:
        ValueError: a run that was not trained on the task.
    """
    from videopoet_jax.evaluate.scaling import Trained

    if task not in line["losses"]:
        raise ValueError(f"--task {task}: {line['name']} has no loss of it; use one of {', '.join(line['losses'])}.")
    return Trained(line["name"], line["size"], line["tokens"], line["flops"], line["losses"][task]["nats"]["value"])


def spread(fits: list) -> dict[str, list[float]]:
    """Least and greatest of each number of several fits."""
    return {name: [min(values), max(values)] for name, values in _columns(fits).items()}


def _columns(fits: list) -> dict[str, list[float]]:
    return {name: [getattr(fit, name) for fit in fits] for name in (fits[0]._fields if fits else ())}


def numbers(fit: Any, ranges: dict[str, list[float]]) -> str:
    """`floor 0.41 (0.39 … 0.44), a 12.1 (…), …`"""
    return ", ".join(
        f"{name} {value:.3g}" + (f" ({ranges[name][0]:.3g} … {ranges[name][1]:.3g})" if name in ranges else "")
        for name, value in fit._asdict().items()
    )


def table(lines: list[dict], models: list, law: Any) -> str:
    """A line a model: what it is, what it took, its losses, what the law expects, its scores."""
    from videopoet_jax.evaluate.digit_table import Rate

    tasks = list(dict.fromkeys(task for line in lines for task in line["losses"]))
    scored = list(dict.fromkeys((t, f) for line in lines for t, found in line["scores"].items() for f in found))
    heads = [f"{task}, {'right' if figure == 'right' else figure}" for task, figure in scored]
    out = ["| | parameters | tokens | operations | the law | " + " | ".join([*tasks, *heads]) + " |"]
    out.append("|---" * (5 + len(tasks) + len(heads)) + "|")
    for line, model in zip(lines, models, strict=True):
        cells = [f"{model.size / 1e6:.2f} M", f"{model.tokens / 1e6:.2f} M", f"{model.flops:.2e}"]
        cells.append(f"{law.loss(model.size, model.tokens):.3f}")
        cells += [f"{line['losses'][t]['nats']['value']:.3f}" if t in line["losses"] else "–" for t in tasks]
        for task, figure in scored:
            value = line["scores"].get(task, {}).get(figure)
            if value is None:
                cells.append("–")
            elif figure == "right":
                cells.append(str(Rate(value["right"], value["n"])))
            else:
                cells.append("∞" if value["median"] is None else f"{value['median']:.1f}")
        out.append(f"| {model.name} | " + " | ".join(cells) + " |")
    return "\n".join(out)
