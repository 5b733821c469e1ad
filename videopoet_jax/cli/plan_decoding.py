"""A clip's decoding, compiled for TPUs that are not there: bytes a token, seconds a clip.

Parameters are in the dtype of the computation and split over `tensor`, all chips of the slice; with guidance each clip
has two rows. A program for every run of codes, as `lm.decode.generate` runs them one after another.
"""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from videopoet_jax.cli.plan_training import abstract_params, layout_of, must_fit
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import State, make_prompt, write_segment, written
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel import make_mesh, param_shardings, replicated
from videopoet_jax.parallel.axes import mesh_axes
from videopoet_jax.parallel.chips import devices_of, parse_topology
from videopoet_jax.sequence.layout import Layout
from videopoet_jax.training.compilation import TPU_OPTIONS
from videopoet_jax.training.forecast import forecast
from videopoet_jax.training.program import Program, read_program

SAMPLING = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=1.5)  # its values change no program


def plan(config: ConfigDict, topology: str, clips: int, task: str) -> tuple[dict[str, Any], str]:
    """The figures of `clips` clips written together on one slice, and the program of the longest run of codes.

    Raises:
        ValueError: a topology that is none, heads that do not divide over its chips, a program that does not fit.
    """
    place, model = parse_topology(topology), PrefixLM(**{**config.model, "remat": "none"})
    mesh = make_mesh(devices_of(topology), data=1, tensor=-1)
    layout = layout_of(config, task)
    start = time.perf_counter()
    what = f"{clips:,} clips of {layout.length:,} tokens on {topology}"
    with must_fit(what, "write fewer at once, or take more chips"):
        compiled = compile_runs(model, mesh, layout, clips)
    seconds = time.perf_counter() - start
    texts = [run.as_text() for run in compiled]
    programs = [read_program(text) for text in texts]
    whole = Program(tuple(block for program in programs for block in program.blocks))
    turns = sum(segment.length for segment, _, _ in written(layout))
    found = forecast(whole, place)
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(nn.meta.unbox(abstract_params(model))))
    memory = [run.memory_analysis() for run in compiled]
    figures = {
        "topology": topology,
        "chips": mesh.size,
        "mesh": dict(mesh.shape),
        "task": task,
        "clips": clips,
        "tokens_of_a_clip": turns,
        "parameter_bytes": held * jnp.dtype(model.dtype).itemsize // 4,
        "program_flops_per_chip": whole.flops,
        "bytes_per_token_per_chip": whole.moved / turns,
        "argument_bytes_per_chip": max(m.argument_size_in_bytes for m in memory),
        "peak_bytes_per_chip": max(m.peak_memory_in_bytes for m in memory),
        "hbm_bytes_per_chip": place.chip.memory,
        "collectives": whole.bytes_by_kind(),
        "computation_seconds": found.computation,
        "link_seconds": found.links,
        "seconds": found.step,
        "seconds_per_token": found.step / turns,
        "compile_seconds": seconds,
    }
    return figures, max(zip(programs, texts, strict=True), key=lambda pair: pair[0].moved)[1]


def compile_runs(model: PrefixLM, mesh: Mesh, layout: Layout, clips: int) -> list[jax.stages.Compiled]:
    """`write_segment` of every run of codes of a layout, with guidance."""
    everywhere, boxed = replicated(mesh), abstract_params(model)
    rows, length, runs = 2 * clips, layout.length, list(written(layout))

    def of(dtype: Any, *sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=everywhere)

    def held(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, model.dtype, sharding=sharding)

    batch = {name: of(jnp.int32, clips, length) for name in ("ids", "table")}
    batch |= {"positions": of(jnp.int32, clips, length, 4), "prefix_length": of(jnp.int32, clips)}
    batch |= {"valid": of(jnp.bool_, clips, length)}
    for side in ("text", "empty_text"):
        batch[side] = of(jnp.dtype(model.dtype), clips, layout.text_length, model.text_dim)
        batch[f"{side}_mask"] = of(jnp.bool_, clips, layout.text_length)
    prompt = jax.eval_shape(lambda batch: make_prompt(batch, guided=True), batch)
    cache = jax.eval_shape(lambda: model.make_cache(rows, runs[-1][0].stop))
    spread = NamedSharding(mesh, mesh_axes("layers", "batch", "length", "heads", "kv"))
    state = State(
        ids=of(jnp.int32, rows, length),
        cache=jax.tree.map(lambda x: held(x, spread), cache),
        hidden=of(jnp.dtype(model.dtype), rows, model.width),
    )
    params = jax.tree.map(held, nn.meta.unbox(boxed), param_shardings(boxed, mesh))
    prompt = jax.tree.map(lambda x: of(x.dtype, *x.shape), prompt)
    keys = of(jax.random.key(0).dtype, clips)
    with jax.set_mesh(mesh):
        return [
            write_segment.lower(
                params, state, prompt, keys, SAMPLING, model=model, segment=segment, read=read, rest=rest
            ).compile(TPU_OPTIONS)
            for segment, read, rest in runs
        ]
