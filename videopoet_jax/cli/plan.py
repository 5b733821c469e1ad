"""`videopoet plan`: a training step compiled for TPUs that are not there: does it fit, how fast will it be."""

import functools
import json
import time
from pathlib import Path

import click

GIB = 2**30


@click.command()
@click.option("--config", "spec", required=True, help="Such as lm:8b, or a file: my.py:variant.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--topology", required=True, help="One slice: v4, v5e, v5p or v6e and its shape, such as v5p:4x4x4.")
@click.option("--slices", type=click.IntRange(1), default=1, show_default=True, help="Slices that the network joins.")
@click.option("--task", default="text_to_video", show_default=True, help="Whose sequences fill the batch.")
@click.option("--json", "report", type=click.Path(dir_okay=False, path_type=Path), is_flag=False, flag_value="-",
              help="Write the figures here; alone or with -: to the terminal, in place of the table.")  # fmt: skip
@click.option("--hlo", type=click.Path(dir_okay=False, path_type=Path), help="Write the compiled program's text here.")
def command(spec, overrides, topology, slices, task, report, hlo) -> None:
    """Compile a language model's training step for a TPU slice; print memory, operations, collectives, time and MFU.

    Needs no TPU: the extra `tpu` brings their compiler. 8 B parameters take some minutes.
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.pretrained.files import write_atomically

    config = load_config(spec, overrides, needs=("model_type", "model", "data", "train", "mesh"))
    if config.model_type != "videopoet_lm":
        raise ValueError(f"--config {spec}: a {config.model_type}; a language model's is planned, such as lm:8b.")
    figures, program = plan(config, topology, slices, task)
    figures = {"config": spec, **figures}
    if hlo:
        write_atomically(hlo, lambda path: path.write_text(program))
    text = json.dumps(figures, indent=1)
    if str(report) == "-":
        click.echo(text)
        return
    for line in table(figures):
        click.echo(line)
    if report:
        write_atomically(report, lambda path: path.write_text(text + "\n"))


def plan(config, topology: str, slices: int, task: str) -> tuple[dict, str]:
    """The figures of a step on `slices` slices (see `table` for what they mean), and its program.

    Raises:
        ValueError: a topology that is none, a batch or a width that does not divide, a step that does not fit.
    """
    import jax

    from videopoet_jax.lm.flops import step_flops
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.parallel import make_mesh
    from videopoet_jax.parallel.chips import devices_of, parse_topology
    from videopoet_jax.training.forecast import forecast
    from videopoet_jax.training.program import NETWORK, read_program

    jax.config.update("jax_platforms", "cpu")  # their compiler is here, they are not
    place = parse_topology(topology)
    mesh = make_mesh(devices_of(topology, slices), **config.mesh)
    layout = layout_of(config, task)
    rows = config.data.tokens // layout.length if config.data.tokens else config.train.batch_size
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows < shares:
        raise ValueError(
            f"{rows} rows of {layout.length:,} tokens on a mesh of {dict(mesh.shape)}: {shares} devices share them; "
            f"raise train.batch_size or data.tokens, or enlarge mesh.tensor or mesh.sequence."
        )
    rows -= rows % shares
    start = time.perf_counter()
    compiled = compile_step(config, mesh, layout, rows)
    seconds = time.perf_counter() - start
    flops = step_flops(PrefixLM(**config.model), layout, rows)
    text = compiled.as_text()
    program = read_program(text, share=shares_of_heads(config, layout, rows // shares), density=blocks_seen(layout))
    memory, chips = compiled.memory_analysis(), mesh.size
    found = forecast(program, place)
    by_kind: dict[str, float] = {}
    for times, collective in program.collectives():
        name = "network" if collective.kind == NETWORK else collective.kind
        by_kind[name] = by_kind.get(name, 0.0) + times * collective.bytes
    figures = {
        "topology": topology,
        "slices": slices,
        "chips": chips,
        "mesh": dict(mesh.shape),
        "task": task,
        "rows": rows,
        "tokens": rows * layout.length,
        "parameters": sum(x.size for x in jax.tree.leaves(abstract_params(config))),
        "flops_per_chip": flops.dense / chips,
        "flops_per_chip_seen_pairs": flops.exact / chips,
        "program_flops_per_chip": program.flops,
        "argument_bytes_per_chip": memory.argument_size_in_bytes,
        "peak_bytes_per_chip": memory.peak_memory_in_bytes,
        "hbm_bytes_per_chip": place.chip.memory,
        "collectives": {name: round(size) for name, size in sorted(by_kind.items())},
        "computation_seconds": found.computation,
        "link_seconds": found.links,
        "network_seconds": found.network,
        "step_seconds": found.step,
        "tokens_per_second": rows * layout.length / found.step,
        "mfu": flops.dense / chips / found.step / place.chip.flops,
        "compile_seconds": seconds,
    }
    return figures, text


def layout_of(config, task: str):
    """The layout of a task's sequences at the config's own size."""
    from videopoet_jax.cli.recipes_of_language import layouts_of
    from videopoet_jax.sequence import get_task

    layouts, data = layouts_of(config), config.data
    return layouts.layout(get_task(task), layouts.grid(data.num_frames, data.height, data.width))


def abstract_params(config):
    """Shapes of a model's parameters, unboxed."""
    import flax.linen as nn

    from videopoet_jax.lm.language_model import init_params
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.parallel import abstract

    return nn.meta.unbox(abstract(functools.partial(init_params, PrefixLM(**config.model))))


def compile_step(config, mesh, layout, rows: int):
    """The step of the training loop, compiled for the devices of `mesh`, with text embeddings kept in the records."""
    import jax
    import jax.numpy as jnp

    from videopoet_jax.cli.train import optimizer_of
    from videopoet_jax.layers.objective import FROZEN
    from videopoet_jax.lm.language_model import init_params
    from videopoet_jax.lm.loss import make_loss
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.parallel import abstract, batch_sharding
    from videopoet_jax.training.compilation import compiled_step
    from videopoet_jax.training.state import abstract_state
    from videopoet_jax.training.step import make_train_step

    length = -(-layout.length // mesh.shape["sequence"]) * mesh.shape["sequence"]
    slots, split = layout.text_length, batch_sharding(mesh)

    def of(dtype, *sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *sizes), dtype, sharding=split)

    batch = {name: of(jnp.int32, length) for name in ("ids", "table")}
    batch |= {"positions": of(jnp.int32, length, 4), "prefix_length": of(jnp.int32)}
    batch |= {"weights": of(jnp.float32, length), "valid": of(jnp.bool_, length)}
    batch |= {name: of(jnp.int32, slots) for name in ("text_ids", "empty_text_ids")}
    batch |= {name: of(jnp.bool_, slots) for name in ("text_mask", "empty_text_mask")}
    batch["text_embedding"] = of(jnp.bfloat16, slots, config.model.text_dim)
    optimizer, decay = optimizer_of(config.train), config.train.ema_decay or None
    empty = jax.ShapeDtypeStruct((1, config.model.text_dim), jnp.bfloat16)
    boxed = abstract(functools.partial(init_params, PrefixLM(**config.model)))
    state = abstract_state(boxed, optimizer, mesh=mesh, extra={FROZEN: {"empty_text": empty}}, ema=decay is not None)
    accumulate = config.train.accumulate
    step = make_train_step(make_loss(config, lambda *_: None), optimizer, ema_decay=decay, accumulate=accumulate)
    with jax.set_mesh(mesh):
        return compiled_step(step, mesh, state, batch)


def shares_of_heads(config, layout, rows: int):
    """In how many of the chunks that logits are made of each head is used, by the name of its scope."""
    import numpy as np

    from videopoet_jax.lm.heads import heads
    from videopoet_jax.lm.totals import positions_of_chunk
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.sequence.grid import AUDIO_CODES
    from videopoet_jax.sequence.vocabulary import AUDIO_OFFSET

    size = positions_of_chunk(config.loss.chunk, rows, layout.length)
    ids, tables = np.append(layout.ids[1:], 0), np.append(layout.tables[1:], -1)
    for segment in layout.segments:  # codes stand in the layout as <pad>; any of theirs will do
        if segment.kind == "audio":
            place = slice(max(0, segment.start - 1), segment.stop - 1)
            ids[place] = AUDIO_OFFSET + segment.level_of[segment.length - (place.stop - place.start) :] * AUDIO_CODES
    scored = np.arange(layout.length) >= layout.prefix_length - 1
    chunks = -(-layout.length // size)
    shares = {}
    for head in heads(PrefixLM(**config.model)):
        used = np.asarray(head.belongs(ids, tables)) & scored
        shares[f"score_{head.name}"] = np.mean([used[c * size : (c + 1) * size].any() for c in range(chunks)])
    return lambda scope: next((share for name, share in shares.items() if name in scope), 1.0)


def blocks_seen(layout) -> float:
    """Of all blocks of queries and keys, those that attention kernels look at: where any query sees any key."""
    import numpy as np

    from videopoet_jax.layers.attend import block_of

    block = block_of(layout.length)
    count = -(-layout.length // block)
    farthest = np.maximum(layout.prefix_length, (np.arange(count) + 1) * block)
    return float(np.mean(np.arange(count) * block < farthest[:, None]))


def table(figures: dict) -> list[str]:
    """The figures as a person reads them."""
    n, chips = figures, figures["chips"]
    moved = ", ".join(f"{kind} {size / 1e9:.2f} GB" for kind, size in n["collectives"].items()) or "none"
    again = n["program_flops_per_chip"] / n["flops_per_chip"]
    return [
        f"{n['config']} on {chips} chips ({n['topology']}, {n['slices']} slices), mesh "
        + ", ".join(f"{axis} {size}" for axis, size in n["mesh"].items() if size > 1),
        f"  {n['parameters'] / 1e9:.2f} B parameters; {n['rows']:,} rows, {n['tokens']:,} tokens a step",
        f"  memory        {n['peak_bytes_per_chip'] / GIB:.1f} of {n['hbm_bytes_per_chip'] / GIB:.0f} GiB a chip, "
        f"{n['argument_bytes_per_chip'] / GIB:.1f} of them the state",
        f"  operations    {n['flops_per_chip'] / 1e12:.1f} TFLOP a chip; the program does {again:.2f} times as many",
        f"  collectives   {moved} a chip",
        f"  step          {n['step_seconds']:.3f} s predicted (computation {n['computation_seconds']:.3f}, links "
        f"{n['link_seconds']:.3f}, network {n['network_seconds']:.3f}, side by side)",
        f"  MFU           {n['mfu']:.1%} predicted; {n['tokens_per_second']:,.0f} tokens a second",
        f"  compiled in   {n['compile_seconds']:.0f} s",
    ]
