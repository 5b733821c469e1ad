"""`videopoet evaluate losses`: language models of training runs on held-out records, in nats a token, bits a clip."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

BATCH = 16
DRAWS = 2_000  # of the bootstrap


@click.command("losses")
@click.argument("runs", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="RUN…")
@click.option("--records", required=True, type=click.Path(path_type=Path), help="Records of held-out clips.")
@click.option("--cases", type=click.IntRange(1), help="Only the first so many; default: all.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write a line for each RUN.")
def command(runs: tuple[Path, ...], records: Path, cases: int | None, report: Path | None) -> None:
    """Measure the newest checkpoint of each RUN (a language model's --workdir) on the tasks that it was trained on.

    Beside each loss stands what was spent on it: parameters of the layers, tokens read, and floating-point operations
    by `lm/flops.py`, from the run's own config and training records. Of each task the records of its commonest layout
    (size, sound, room for text) are measured. Bits a clip are -log2 p of all tokens of a kind:
    of equal pictures they compare models whose tokens differ. 95 % intervals over clips.
    """
    from videopoet_jax.cli.curves import labels
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.pretrained.files import write_atomically
    from videopoet_jax.training.compilation import use_compilation_cache

    check_targets(report)
    use_compilation_cache()
    lines = []
    for run, name in zip(runs, labels(runs), strict=True):
        lines.append({"name": name, **measured(run, records, cases)})
        click.echo(told(lines[-1]))
    if report:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(report, lambda path: path.write_text(text))


def told(line: dict) -> str:
    """`nano_192: 2.46 M, 0.65 M tokens, 12.1 TFLOP: text_to_video 3.210 nats a token, video 512.1 bits; …`"""
    spent = f"{line['size'] / 1e6:.2f} M, {line['tokens'] / 1e6:.2f} M tokens, {line['flops'] / 1e12:.1f} TFLOP"
    losses = [
        f"{task} {found['nats']['value']:.3f} nats a token"
        + "".join(f", {kind} {found[kind]['value']:.1f} bits" for kind in ("video", "sound") if kind in found)
        for task, found in line["losses"].items()
    ]
    return f"{line['name']}: {spent}: {'; '.join(losses)}"


def measured(run: Path, records: Path, cases: int | None) -> dict[str, Any]:
    """What a run spent, and its losses.

    Raises:
        ValueError: no language model's run, or records that it cannot read.
    """
    from ml_collections import ConfigDict

    from videopoet_jax.cli.recipes_of_language import layouts_for
    from videopoet_jax.cli.saved_models import model_of
    from videopoet_jax.data.token_records import TokenSource
    from videopoet_jax.lm.language_model import LanguageModel
    from videopoet_jax.training.saved import open_step

    saved = open_step(run)
    lm, _ = model_of(saved, run, None)
    if not isinstance(lm, LanguageModel):
        raise ValueError(f"{run}: trains no language model; give the --workdir of one.")
    config = ConfigDict({**saved.config, "model": lm.config})  # with tuples, of which JSON makes lists
    source = TokenSource(records, expect={"digests": lm.tokenizers})
    losses = losses_of(lm, config, source, layouts_for(config, source), cases)
    return spent(config, saved.step) | {"losses": losses}


def spent(config: Any, steps: int) -> dict[str, Any]:
    """Parameters of the layers, and what so many steps took, by the records that the config names."""
    from videopoet_jax.cli.recipes_of_language import layouts_for, rates_of, rows_of
    from videopoet_jax.data.task_batches import kinds_of, sequences_a_step
    from videopoet_jax.data.token_records import TokenSource
    from videopoet_jax.lm.flops import layer_params, step_flops
    from videopoet_jax.lm.transformer import PrefixLM

    model, data, source = PrefixLM(**config.model), config.data, TokenSource(config.data.records)
    kinds = kinds_of(source.index, source.meta["keys"], rates_of(config), layouts_for(config, source))
    rows = functools.partial(rows_of, config)
    mixed = dict(most_groups=data.groups, packing=data.packing, stretches=config.mesh.sequence)
    mean = sequences_a_step(kinds, **mixed, rows=rows)
    return {
        "size": layer_params(model),
        "visual_codes": model.visual_codes,
        "steps": steps,
        "clips": steps * sum(count for _, count in mean),
        "tokens": steps * sum(count * layout.length for layout, count in mean),
        "flops": steps * sum(count * step_flops(model, layout, 1).exact for layout, count in mean),
    }


def losses_of(lm: Any, config: Any, source: Any, layouts: Any, cases: int | None) -> dict[str, dict]:
    """task → nats a token, and bits a clip of each kind of token that it writes."""
    import jax

    from videopoet_jax.cli.recipes_of_language import rates_of
    from videopoet_jax.lm.loss import sums_of_rows

    params, embed = jax.tree.map(np.asarray, lm.params), embedder(source)
    sums_of = jax.jit(lambda params, batch, text: sums_of_rows(lm.model, params, batch, text, config.loss.chunk))
    found = {}
    for task in (name for name, rate in rates_of(config).items() if rate):
        films, parts = [], []
        for batch, captions in batches(source, task, layouts, cases):
            sums = jax.device_get(sums_of(params, batch, embed(batch)))
            parts.append({name: values[: len(captions)].T for name, values in sums.items()})
            films += captions
        joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
        found[task] = summary(joined, films)
    return found


def summary(sums: dict[str, np.ndarray], films: list[str]) -> dict[str, dict]:
    """Of each head's weights and nats [2 clips]: `nats` a token of all, `video` and `sound` bits a clip."""
    from videopoet_jax.evaluate.resampling import draw_films, estimate

    draws = draw_films(films, resamples=DRAWS, seed=0)
    sound = [values for name, values in sums.items() if name.startswith("audio_")]
    kinds = {"video": sums["video"]} | ({"sound": sum(sound)} if sound else {})
    weight, nats = sum(sums.values())
    figures = {"nats": lambda picked: float(nats[picked].sum() / weight[picked].sum())}
    for name, (counted, own) in kinds.items():
        if counted.any():
            figures[name] = functools.partial(lambda own, picked: float(own[picked].mean() / np.log(2.0)), own)
    return {
        name: {"value": e.value, "interval": [e.low, e.high]}
        for name, e in ((name, estimate(figure, clips=len(films), draws=draws)) for name, figure in figures.items())
    }


def batches(source: Any, task: str, layouts: Any, cases: int | None) -> Iterator[tuple[dict, list[str]]]:
    """A task's examples, all of its commonest layout, and their captions; the last batch is filled up."""
    from videopoet_jax.data.task_batches import example_of, kinds_of

    kind = max(kinds_of(source.index, source.meta["keys"], {task: 1.0}, layouts), key=lambda kind: kind.rate)
    make = example_of(kind.layout, kind.layout.length, kind.layout.text_length, {})
    numbers = kind.records[:cases].tolist()
    for first in range(0, len(numbers), BATCH):
        records = [source[number] for number in numbers[first : first + BATCH]]
        examples = [make(record) for record in records]
        examples += examples[-1:] * (BATCH - len(examples))
        captions = [str(record.get("caption", first + i)) for i, record in enumerate(records)]
        yield {key: np.stack([e[key] for e in examples]) for key in examples[0]}, captions


def embedder(source: Any) -> Any:
    """A batch → its texts' embeddings [b l c]: those that the records keep, or their text encoder's."""
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.text.embed import TextEncoder

    models = Path(source.directory).resolve() / source.meta["models"]
    check_digests(models, source.meta["digests"], f"the records in {source.directory} were made with")
    encoder = TextEncoder.from_pretrained(models)

    def embed(batch: dict) -> np.ndarray:
        if "text_embedding" in batch:
            return np.asarray(batch["text_embedding"], np.float32)
        return np.asarray(encoder.embed(batch["text_ids"], batch["text_mask"]), np.float32)

    return embed
