"""`videopoet evaluate`: a model's clips of held-out prompts, scored beside ceilings and cheats; and KINDS of others."""

import importlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from videopoet_jax.cli.targets import check_targets

# first word → module in this package
KINDS = {
    "tasks": "evaluate_tasks",
    "tokenizer": "evaluate_tokenizer",
    "audio-tokenizer": "evaluate_audio_tokenizer",
    "compression": "evaluate_compression",
    "losses": "evaluate_losses",
    "scaling": "evaluate_scaling",
}


class Evaluate(click.Command):
    """Takes a model, or a first word out of KINDS: that command is imported and called instead."""

    def make_context(self, info_name, args, parent=None, **extra):
        if args and args[0] in KINDS:
            other = importlib.import_module(f"videopoet_jax.cli.{KINDS[args[0]]}").command
            return other.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(cls=Evaluate, epilog=f"Other evaluations: videopoet evaluate {'|'.join(KINDS)} --help")
@click.argument("model", default="nano")
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True, help="Clips of each held-out prompt.")
@click.option("--prompts", "limit", type=click.IntRange(1), help="Only the first so many of the 52 prompts.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Draw the first clips of the model (PNG).")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the table with every clip's scores.")
@click.option("--clips", "folder", type=click.Path(path_type=Path), help="Instead: a folder of real videos.")
@click.option("--out-dir", type=click.Path(path_type=Path), default="evaluation", show_default=True,
              help="With --clips: where the sheet, the figures and the clips go.")  # fmt: skip
@click.option("--guidance-scale", type=float)
@click.option("--temperature", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.pass_context
def command(context, model, seeds, limit, sheet, report, folder, out_dir, **sampling) -> None:
    """Score MODEL's text-to-video on moving_digits: the 52 held-out triples, by code that knows nothing of the model.

    With --clips: its copies and continuations of the held-out part of a folder of real videos.
    """
    if folder:
        refuse_of_digits(context)
    check_targets(sheet, report)
    from videopoet_jax.data.moving_digits import HELD_OUT
    from videopoet_jax.evaluate import digit_table
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.training.compilation import use_compilation_cache

    use_compilation_cache()
    vp = VideoPoet.from_pretrained(model)
    if folder:
        from videopoet_jax.cli.evaluate_clips import report as report_on_clips

        _write(report, report_on_clips(vp, folder, out_dir, sampling))
        return
    triples = HELD_OUT[:limit]
    prompts = [f"a {t.colour} {t.digit} moving {t.direction}" for t in triples]
    likeness = []  # of the tokenizer's copies, in dB
    systems = _systems(vp, model, dict(zip(prompts, triples, strict=True)), seeds, sampling, sheet, likeness)
    rows = digit_table.score_table(
        prompts,
        range(seeds),
        systems,
        on_row=lambda row: click.echo(f"scored: {row.name}: {row.rates['all']}", err=True),
    )
    click.echo(digit_table.to_markdown(rows))
    psnr = sum(likeness) / len(likeness)
    click.echo(
        f"\nThe video tokenizer's copies of the true clips: {psnr:.1f} dB PSNR, the mean of {len(likeness)} clips."
    )
    _write(report, {"rows": digit_table.to_json(rows), "tokenizer_psnr": psnr})


def refuse_of_digits(context: click.Context) -> None:
    """Raises if an option was given that means nothing with --clips."""
    for name, option in (("seeds", "--seeds"), ("limit", "--prompts"), ("sheet", "--sheet")):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ValueError(f"{option} with --clips: it is of moving_digits' prompts; leave one of them out.")


def _write(report: Path | None, figures: dict) -> None:
    """The file of --json, if it was asked for."""
    from videopoet_jax.pretrained.files import write_atomically

    if report:
        data = json.dumps(figures, indent=1)
        write_atomically(report, lambda path: path.write_text(data + "\n"))


def _systems(
    vp, name: str, triples: dict, seeds: int, sampling: dict, sheet: Path | None, likeness: list[float]
) -> dict[str, Callable]:
    """The rows of the table: how each makes clips of prompts and seeds. The PSNR of copies goes into `likeness`."""
    from videopoet_jax.data.moving_digits import SAMPLE_RATE, render, render_prompt
    from videopoet_jax.evaluate.digit_table import Sample, cheats

    def true(prompts: Sequence[str], numbers: Sequence[int]) -> list[Sample]:
        found = [render_prompt(*triples[p], split="test", index=n) for p, n in zip(prompts, numbers, strict=True)]
        return [Sample(c.frames, c.audio, SAMPLE_RATE) for c in found]

    def tokenized(prompts: Sequence[str], numbers: Sequence[int]) -> list[Sample]:

        from videopoet_jax.evaluate.quality import psnr_clip

        out = []
        for clip in true(prompts, numbers):
            frames = vp.video_tokenizer.decode(vp.video_tokenizer.encode(clip.frames).codes)
            likeness.append(float(psnr_clip(clip.frames, frames)))
            codes = vp.audio_tokenizer.encode(clip.audio, vp.settings.audio_levels).codes
            out.append(Sample(frames, vp.audio_tokenizer.decode(codes), SAMPLE_RATE))
        return out

    def generated(conditioned: bool) -> Callable:
        def make(prompts: Sequence[str], numbers: Sequence[int]) -> list:
            texts = list(prompts) if conditioned else [""] * len(prompts)
            clips = vp.generate(texts, task="text_to_video", seed=own_seeds(prompts, numbers), **sampling)
            if sheet and conditioned:
                _draw(sheet, prompts, clips, seeds)
            return clips

        return make

    training = [render("train", 1, i) for i in range(200)]
    examples = [(c.truth.caption, Sample(c.frames, c.audio, SAMPLE_RATE)) for c in training]
    return {
        name: generated(True),
        "true clips (ceiling)": true,
        "true clips through the tokenizers (ceiling)": tokenized,
        f"{name}, prompt dropped": generated(False),
        **cheats(true, examples),
    }


def own_seeds(prompts: Sequence[str], numbers: Sequence[int]) -> list[int]:
    """Seeds that differ between prompts too: clips that share their random numbers are fewer clips than they seem."""
    return [zlib.crc32(f"{number} {prompt}".encode()) for prompt, number in zip(prompts, numbers, strict=True)]


def _draw(path: Path, prompts: Sequence[str], clips: Sequence, seeds: int) -> None:
    from videopoet_jax.evaluate.sheets import Row, save_contact_sheet

    rows = [Row(p, c.frames, c.audio, c.sample_rate) for p, c in list(zip(prompts, clips, strict=True))[::seeds][:16]]
    save_contact_sheet(path, rows)
    click.echo(f"wrote {path}", err=True)
