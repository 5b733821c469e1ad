"""A language model's training step, compiled for TPUs that are not there, and what its program says."""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from videopoet_jax.cli.recipes_of_language import layouts_of
from videopoet_jax.cli.train import optimizer_of
from videopoet_jax.data import grouping
from videopoet_jax.layers.attend import block_of
from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.lm.flops import step_flops
from videopoet_jax.lm.heads import heads
from videopoet_jax.lm.language_model import init_params
from videopoet_jax.lm.loss import make_loss
from videopoet_jax.lm.totals import positions_of_chunk
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel import abstract, batch_sharding, make_mesh
from videopoet_jax.parallel.chips import devices_of, parse_topology
from videopoet_jax.sequence import get_task
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.layout import Layout
from videopoet_jax.sequence.vocabulary import AUDIO_OFFSET
from videopoet_jax.training.compilation import compiled_step
from videopoet_jax.training.forecast import forecast
from videopoet_jax.training.program import read_program
from videopoet_jax.training.state import abstract_state
from videopoet_jax.training.step import make_train_step


def plan(config: ConfigDict, topology: str, slices: int, task: str) -> tuple[dict[str, Any], str]:
    """The figures of a step on `slices` slices (`cli.plan` says what they mean), and its program.

    Raises:
        ValueError: a topology that is none, a batch or a width that does not divide, a step that does not fit.
    """
    place = parse_topology(topology)
    mesh = make_mesh(devices_of(topology, slices), **config.mesh)
    layout, model = layout_of(config, task), PrefixLM(**config.model)
    shares, parts = mesh.shape["data"] * mesh.shape["fsdp"], config.train.accumulate
    length = grouping.stretched(layout.length, mesh.shape["sequence"])
    rows = config.train.batch_size
    if config.data.tokens:
        rows = grouping.rows(config.data.tokens, length, shares * parts)
    if rows % (shares * parts):
        raise ValueError(
            f"train.batch_size {rows} on a mesh of {dict(mesh.shape)} in {parts} microbatches: {shares} devices share "
            f"the rows of each; give a multiple of {shares * parts}, or enlarge mesh.tensor or mesh.sequence."
        )
    start = time.perf_counter()
    what = f"{rows:,} rows of {layout.length:,} tokens on {topology}, {slices} slices"
    with must_fit(what, "lower train.batch_size or data.tokens, set model.remat=full, or take more chips"):
        compiled = compile_step(config, mesh, layout, rows)
    seconds = time.perf_counter() - start
    flops, text = step_flops(model, layout, rows), compiled.as_text()
    share = shares_of_heads(config, layout, rows // shares // parts, mesh.shape["sequence"])
    density = blocks_seen(layout.prefix_length, layout.length)
    program = read_program(text, share, density)
    memory, chips, found = compiled.memory_analysis(), mesh.size, forecast(program, place)
    figures = {
        "topology": topology,
        "slices": slices,
        "chips": chips,
        "mesh": dict(mesh.shape),
        "task": task,
        "text": "embedded",  # as records keep it with data.embeddings; a text encoder inside the step comes on top
        "rows": rows,
        "tokens": rows * layout.length,
        "parameters": sum(x.size for x in jax.tree.leaves(abstract_params(model))),
        "flops_per_chip": flops.dense / chips,
        "flops_per_chip_seen_pairs": flops.exact / chips,
        "program_flops_per_chip": program.flops,
        "argument_bytes_per_chip": memory.argument_size_in_bytes,
        "peak_bytes_per_chip": memory.peak_memory_in_bytes,
        "hbm_bytes_per_chip": place.chip.memory,
        "collectives": program.bytes_by_kind(),
        "computation_seconds": found.computation,
        "link_seconds": found.links,
        "network_seconds": found.network,
        "step_seconds": found.step,
        "tokens_per_second": rows * layout.length / found.step,
        "mfu": flops.dense / chips / found.step / place.chip.flops,
        "mfu_seen_pairs": flops.exact / chips / found.step / place.chip.flops,
        "compile_seconds": seconds,
    }
    return figures, text


_AMOUNTS = re.compile(r"([\d.]+)([KMGT])\)?(?: of | exceeds available HBM \()([\d.]+)([KMGT])")
_IN_GIB = {"K": 2**-20, "M": 2**-10, "G": 1, "T": 2**10}  # XLA counts in powers of two


@contextlib.contextmanager
def must_fit(what: str, remedy: str) -> Iterator[None]:
    """Compiling `what` in here says how much memory is missing where it does not fit.

    Raises:
        ValueError: it does not.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        rule = "more than a chip's memory is needed"
        if found := _AMOUNTS.search(str(error)):
            needed, there = (float(found[i]) * _IN_GIB[found[i + 1]] for i in (1, 3))
            rule = f"{needed:.2f} GiB or more a chip are needed, of {there:.2f} GiB"
        raise ValueError(f"{what}: {rule}; {remedy}.") from error


def layout_of(config: ConfigDict, task: str) -> Layout:
    """The layout of a task's sequences at the config's own size."""
    layouts, data = layouts_of(config), config.data
    return layouts.layout(get_task(task), layouts.grid(data.num_frames, data.height, data.width))


def abstract_params(model: PrefixLM) -> Any:
    """Shapes of a model's parameters, boxed."""
    return abstract(functools.partial(init_params, model))


def compile_step(config: ConfigDict, mesh: Mesh, layout: Layout, rows: int) -> jax.stages.Compiled:
    """The step of the training loop, compiled for the devices of `mesh`, with text embeddings kept in the records."""
    length = grouping.stretched(layout.length, mesh.shape["sequence"])
    slots, split = layout.text_length, batch_sharding(mesh)

    def of(dtype: Any, *sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *sizes), dtype, sharding=split)

    batch = {name: of(jnp.int32, length) for name in ("ids", "table")}
    batch |= {"positions": of(jnp.int32, length, 4), "prefix_length": of(jnp.int32)}
    batch |= {"weights": of(jnp.float32, length), "valid": of(jnp.bool_, length)}
    batch |= {name: of(jnp.int32, slots) for name in ("text_ids", "empty_text_ids")}
    batch |= {name: of(jnp.bool_, slots) for name in ("text_mask", "empty_text_mask")}
    batch["text_embedding"] = of(jnp.bfloat16, slots, config.model.text_dim)
    optimizer, decay = optimizer_of(config.train), config.train.ema_decay or None
    empty = jax.ShapeDtypeStruct((1, config.model.text_dim), jnp.bfloat16)
    boxed, extra = abstract_params(PrefixLM(**config.model)), {FROZEN: {"empty_text": empty}}
    state = abstract_state(boxed, optimizer, mesh=mesh, extra=extra, ema=decay is not None)
    accumulate = config.train.accumulate
    step = make_train_step(make_loss(config, lambda *_: None), optimizer, ema_decay=decay, accumulate=accumulate)
    with jax.set_mesh(mesh):
        return compiled_step(step, mesh, state, batch)


def shares_of_heads(config: ConfigDict, layout: Layout, rows: int, stretches: int = 1) -> Callable[[str], float]:
    """In how many of the chunks that logits are made of each head is used, by the name of its scope.

    Args:
        rows: of a device, in a microbatch.
        stretches: `mesh.sequence`; all of them do what one needs (`lm.totals`).
    """
    length = grouping.stretched(layout.length, stretches) // stretches
    size = positions_of_chunk(config.loss.chunk, rows, length)
    ids, tables = np.append(layout.ids[1:], 0), np.append(layout.tables[1:], -1)
    for segment in layout.segments:  # codes stand in the layout as <pad>; any of theirs will do
        if segment.kind == "audio":
            place = slice(max(0, segment.start - 1), segment.stop - 1)
            ids[place] = AUDIO_OFFSET + segment.level_of[segment.length - (place.stop - place.start) :] * AUDIO_CODES
    scored = np.arange(layout.length) >= layout.prefix_length - 1
    shares = {}
    for head in heads(PrefixLM(**config.model)):
        used = np.asarray(head.belongs(ids, tables)) & scored
        used = np.pad(used, (0, stretches * length - layout.length)).reshape(stretches, length).any(axis=0)
        shares[f"score_{head.name}"] = np.mean([used[start : start + size].any() for start in range(0, length, size)])
    return lambda scope: next((share for name, share in shares.items() if name in scope), 1.0)


def blocks_seen(prefix_length: int, length: int) -> float:
    """Of all blocks of queries and keys, those that attention kernels look at: where any query sees any key."""
    block = block_of(length)
    count = -(-length // block)
    farthest = np.maximum(prefix_length, (np.arange(count) + 1) * block)
    return float(np.mean(np.arange(count) * block < farthest[:, None]))
