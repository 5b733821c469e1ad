"""`videopoet plan`: training or decoding, compiled for TPUs that are not there: does it fit, how fast will it be."""

import json
from pathlib import Path

import click

GIB = 2**30


@click.command()
@click.option("--config", "spec", required=True, help="Such as lm:8b, or a file: my.py:variant.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--topology", required=True, help="One slice: v4, v5e, v5p or v6e and its shape, such as v5p:4x4x4.")
@click.option("--slices", type=click.IntRange(1), default=1, show_default=True, help="Slices that the network joins.")
@click.option("--task", default="text_to_video", show_default=True, help="Whose sequences fill the batch.")
@click.option("--decode", "clips", type=click.IntRange(1), metavar="CLIPS",
              help="Plan the writing of so many clips at once, with guidance, instead of a training step.")  # fmt: skip
@click.option("--json", "report", type=click.Path(dir_okay=False, path_type=Path), is_flag=False, flag_value="-",
              help="Write the figures here; alone or with -: to the terminal, in place of the table.")  # fmt: skip
@click.option("--hlo", type=click.Path(dir_okay=False, path_type=Path), help="Write the compiled program's text here.")
def command(spec, overrides, topology, slices, task, clips, report, hlo) -> None:
    """Compile a language model's training step for a TPU slice; print memory, operations, collectives, time and MFU.

    Needs no TPU: the extra `tpu` brings their compiler. 8 B parameters take some minutes.
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.pretrained.files import write_atomically

    config = load_config(spec, overrides, needs=("model_type", "model", "data", "train", "mesh"))
    if config.model_type != "videopoet_lm":
        raise ValueError(f"--config {spec}: a {config.model_type}; a language model's is planned, such as lm:8b.")
    if clips and slices > 1:
        raise ValueError(f"--decode {clips} --slices {slices}: clips are written on one slice; leave --slices out.")
    import jax

    jax.config.update("jax_platforms", "cpu")  # the TPUs' compiler is here, they are not
    from videopoet_jax.cli import plan_decoding, plan_training

    if clips:
        figures, program = plan_decoding.plan(config, topology, clips, task)
    else:
        figures, program = plan_training.plan(config, topology, slices, task)
    figures = {"config": spec, **figures}
    if hlo:
        write_atomically(hlo, lambda path: path.write_text(program))
    text = json.dumps(figures, indent=1)
    if str(report) == "-":
        click.echo(text)
        return
    for line in table_of_decoding(figures) if clips else table_of_training(figures):
        click.echo(line)
    if report:
        write_atomically(report, lambda path: path.write_text(text + "\n"))


def common(figures: dict) -> dict[str, str]:
    """Lines of both tables."""
    n = figures
    moved = ", ".join(f"{kind} {size / 1e9:.2f} GB" for kind, size in n["collectives"].items()) or "none"
    held, all_of_it = n["peak_bytes_per_chip"] / GIB, n["hbm_bytes_per_chip"] / GIB
    return {
        "mesh": ", ".join(f"{axis} {size}" for axis, size in n["mesh"].items() if size > 1) or "of one",
        "memory": f"  memory        {held:.1f} of {all_of_it:.0f} GiB a chip, "
        f"{n['argument_bytes_per_chip'] / GIB:.1f} of them arguments",
        "collectives": f"  collectives   {moved} a chip",
        "compiled": f"  compiled in   {n['compile_seconds']:.0f} s",
    }


def table_of_training(figures: dict) -> list[str]:
    """The figures of a step as a person reads them."""
    n, both = figures, common(figures)
    again = n["program_flops_per_chip"] / n["flops_per_chip"]
    return [
        f"{n['config']} on {n['chips']} chips ({n['topology']}, {n['slices']} slices), mesh {both['mesh']}",
        f"  {n['parameters'] / 1e9:.2f} B parameters; {n['rows']:,} rows, {n['tokens']:,} tokens a step; texts are "
        f"embedded in the records (data.embeddings): a text encoder in the step comes on top",
        both["memory"],
        f"  operations    {n['flops_per_chip'] / 1e12:.1f} TFLOP a chip; the program does {again:.2f} times as many",
        both["collectives"],
        f"  step          {n['step_seconds']:.3f} s predicted (computation {n['computation_seconds']:.3f}, links "
        f"{n['link_seconds']:.3f}, network {n['network_seconds']:.3f})",
        f"  MFU           {n['mfu']:.1%} predicted, {n['mfu_seen_pairs']:.1%} with only the pairs that see each other; "
        f"{n['tokens_per_second']:,.0f} tokens a second",
        both["compiled"],
    ]


def table_of_decoding(figures: dict) -> list[str]:
    """The figures of a decoding as a person reads them."""
    n, both = figures, common(figures)
    return [
        f"{n['config']} writes {n['clips']} clips on {n['chips']} chips ({n['topology']}), mesh {both['mesh']}",
        f"  {n['parameter_bytes'] / 1e9:.2f} GB of parameters; {n['tokens_of_a_clip']:,} tokens a clip, two rows each",
        both["memory"],
        f"  traffic       {n['bytes_per_token_per_chip'] / 1e9:.2f} GB of memory a token and chip",
        both["collectives"],
        f"  time          {n['seconds']:.2f} s predicted, {1000 * n['seconds_per_token']:.2f} ms a token (computation "
        f"{n['computation_seconds']:.2f} s, links {n['link_seconds']:.2f} s)",
        both["compiled"],
    ]
