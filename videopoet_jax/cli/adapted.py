"""A recipe that trains low-rank adapters of a model instead of the model, whatever the model is."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.recipes import Recipe

NOTE = "base.json"


def adapted(recipe: Recipe, lora: Any) -> Recipe:
    """`recipe` with adapters as its parameters; what it previews and exports is the model with them merged.

    `extra[FROZEN]["base"]` are the weights that stay. Of rank 0, a config's `train.lora` changes nothing.
    """
    if not lora.rank:
        return recipe
    import jax

    from videopoet_jax.training.lora import adapted_loss, base_of, merge

    scale = lora.alpha / lora.rank
    whole = jax.jit(lambda params, extra: merge(base_of(extra), params, scale))

    def preview(params: Any, extra: Any, folder: Path | None, step: int) -> dict[str, float]:
        return recipe.preview(whole(params, extra), extra, folder, step)

    return dataclasses.replace(
        recipe,
        loss_fn=adapted_loss(recipe.loss_fn, scale),
        preview=preview if recipe.preview else None,
        trained=lambda params, extra: recipe.trained(whole(params, extra), extra),
    )


def keep_base(workdir: Path, state: Any, name: str) -> None:
    """Notes in `workdir` which weights the adapters there belong to, for checkpoints do not hold them.

    Says how much trains.

    Raises:
        ValueError: the run was started from other weights.
    """
    import json

    import jax

    from videopoet_jax.pretrained.files import write_atomically
    from videopoet_jax.training.lora import base_of, check_base, count, fingerprint

    note, weights = workdir / NOTE, base_of(state.extra)
    if note.is_file():
        base = check_base(json.loads(note.read_text())["base"], weights, f"--init {name}: {note}")
    else:
        base = fingerprint(weights)
    if jax.process_index() == 0:
        write_atomically(note, lambda path: path.write_text(json.dumps({"base": base, "init": name}) + "\n"))
    click.echo(f"adapters of {count(state.params):,} numbers train, the {count(weights):,} of {name} stay")
