"""The two sides of `train.py`: each prepares its step and returns the work that is timed.

The first run takes the first `LOSSES` steps and tells their losses, so that the sides are known to compute the same,
forward, backward and in the optimizer; every later run is a step, from a batch in the host's memory to new parameters.
"""

import functools
from collections.abc import Callable
from typing import Any

import contest
import numpy as np
from train_task import Task, batch_of, captions_of, choices, config_of, draw, layout_of

LOSSES = 3
Work = Callable[[], dict[str, Any] | None]


def as_work(step: Callable[[], float], told: dict[str, Any]) -> Work:
    """`step()` takes a step, waits for it and returns its loss."""
    told = {**told, "losses": []}

    def work() -> dict[str, Any] | None:
        if told["losses"]:
            step()
            return None
        told["losses"] = [step() for _ in range(LOSSES)]
        return told

    return work


def data_of(task: Task) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Config, layout and batch."""
    config = config_of(task)
    layout = layout_of(config)
    return config, layout, batch_of(config, layout, config.train.batch_size, captions=captions_of(task, layout))


# ---- ours


def no_encoder(params: Any, ids: Any, mask: Any) -> Any:
    raise AssertionError("the batch brings the texts' embeddings")


def our_side(task: Task) -> Work:
    """A training step as `videopoet train` takes it, of the first of the task's choices that fits."""
    from ours import jax_as_the_command_line

    jax = jax_as_the_command_line("train")
    from videopoet_jax.training.loop import to_devices

    run = our_run(config_of(choices(task)[0]))
    state, _ = run.begin()
    for chosen in choices(task):
        program, batch = compiled(chosen, run, state)
        if fits(program):
            break
    else:
        raise SystemExit(f"{task}: none of {', '.join(map(str, choices(task)))} fits into the memory.")
    held = [state]  # its memory is the next state's

    def step() -> float:
        with jax.set_mesh(run.mesh):
            held[0], metrics = program(held[0], to_devices(batch, run.mesh))
            jax.block_until_ready(held[0])
        return float(metrics["loss"])

    return as_work(step, {"task": str(chosen)})


def our_run(config: Any) -> Any:
    """What `videopoet train` makes of a config, but for its data and its start, which is `draw`'s."""
    from types import SimpleNamespace

    import jax
    from flax import linen as nn

    from videopoet_jax.cli.train import Run
    from videopoet_jax.layers.objective import FROZEN
    from videopoet_jax.lm.language_model import init_params
    from videopoet_jax.lm.loss import make_loss
    from videopoet_jax.lm.transformer import PrefixLM

    def one(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return draw(jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape)

    def start(name: str) -> tuple[Any, dict[str, Any]]:
        shapes = nn.meta.unbox(jax.eval_shape(init, jax.random.key(0)))
        empty = np.zeros((1, config.model.text_dim), np.float32)
        return jax.tree_util.tree_map_with_path(one, shapes), {FROZEN: {"empty_text": empty}}

    init = functools.partial(init_params, PrefixLM(**config.model))
    recipe = SimpleNamespace(init=init, loss_fn=make_loss(config, no_encoder), adversary=None, start=start)
    return Run(config, recipe, "drawn")


def compiled(task: Task, run: Any, state: Any) -> tuple[Callable, dict[str, np.ndarray]]:
    """The step `(state, batch) → (state, metrics)`, compiled ahead of time, and the batch."""
    import jax

    from videopoet_jax.cli.train import optimizer_of
    from videopoet_jax.lm.loss import make_loss
    from videopoet_jax.training.compilation import compiled_step
    from videopoet_jax.training.loop import to_devices
    from videopoet_jax.training.step import make_train_step

    config, _, batch = data_of(task)
    decay = config.train.ema_decay or None
    step = make_train_step(make_loss(config, no_encoder), optimizer_of(config.train), ema_decay=decay)
    with jax.set_mesh(run.mesh):
        return compiled_step(step, run.mesh, state, to_devices(batch, run.mesh)), batch


def fits(program: Any) -> bool:
    """Whether the device has room for the state, the batch and what the step holds meanwhile."""
    import jax

    memory, device = program.memory_analysis(), jax.local_devices()[0].memory_stats()
    need = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return not device or need - memory.alias_size_in_bytes < device["bytes_limit"]


# ---- the peer's


def twin_side(task: Task) -> Work:
    """The twin in PyTorch, compiled; where a step does not fit into the memory, with its layers rematerialised."""
    import torch

    torch.set_num_threads(contest.THREADS)
    torch.set_float32_matmul_precision("highest" if task.dtype == "float32" else "high")
    prepared = [_twin(task, remat=False)]

    def work() -> dict[str, Any] | None:
        try:
            return prepared[0]()
        except torch.OutOfMemoryError:
            prepared.clear()
        torch.cuda.empty_cache()
        prepared.append(_twin(task, remat=True))
        return prepared[0]()

    return work


def _twin(task: Task, *, remat: bool) -> Work:
    import torch
    from twins.language import Run, Twin
    from twins.training import Trainer

    config, layout, batch = data_of(task)
    batch = {name: batch[name] for name in ("ids", "positions", "prefix_length", "valid", "text_embedding")}
    twin = Twin(
        config.model.to_dict(),
        tuple(Run(s.kind, s.output, s.start, s.stop, s.level) for s in layout.segments),
        layout.prefix_length if batch["valid"].all() else None,
        config.loss.z_coefficient,
        getattr(torch, task.dtype),
        remat,
    )
    twin.load(draw)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(twin, config.train.to_dict(), device)

    def step() -> float:
        loss = trainer.step(batch)
        if device == "cuda":
            torch.cuda.synchronize()
        return float(loss)

    return as_work(step, {"task": str(task), "remat": remat})
