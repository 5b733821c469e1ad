"""`videopoet evaluate tasks`: what models write in each task on held-out moving digits, beside ceiling and cheat."""

import functools
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

BATCH = 16  # clips tokenized, and rows written, at once
SEED = 0  # of what holes are drawn


@click.command("tasks")
@click.argument("models", nargs=-1, metavar="[MODEL]…")
@click.option("--task", "names", multiple=True,
              help="Only this one, trained or not; may be given again. Default: the first model's.")  # fmt: skip
@click.option("--cases", type=click.IntRange(1), default=208, show_default=True,
              help="Held-out clips: the 52 held-out triples in turn.")  # fmt: skip
@click.option("--sheet", type=click.Path(path_type=Path), help="Draw the first clips of each task (PNG).")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the table's numbers.")
@click.option("--guidance-scale", type=float)
@click.option("--temperature", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
def command(models, names, cases, sheet, report, **sampling) -> None:
    """Score the tasks of each MODEL (default: nano) on moving_digits of level 1: prompts, scans and clips that no
    training shows.

    All models get the same holes, first frames and texts. "copies" is the tokenizers' ceiling (the first model's);
    "cheat" holds the last frame it is given, leaves a hole grey, or is black and silent. 95 % intervals over cases.
    """
    from videopoet_jax.cli.curves import labels
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.evaluate import digit_tasks
    from videopoet_jax.evaluate.sheets import Row, save_contact_sheet
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.pretrained.files import write_atomically
    from videopoet_jax.sequence import get_task
    from videopoet_jax.training.compilation import use_compilation_cache

    check_targets(sheet, report)
    for name in names:
        digit_tasks.scorer_of(name)
    use_compilation_cache()
    table: dict[str, dict] = {}
    beside: dict[str, dict] = {"copies": {}, "cheat": {}}
    drawn: list[tuple] = []
    models = models or ("nano",)
    for model, name in zip(models, labels([Path(model) for model in models]), strict=True):
        vp = VideoPoet.from_pretrained(model)
        vp.lm.bucket = max(vp.lm.bucket, BATCH)
        names = names or tuple(filter(digit_tasks.is_scored, vp.settings.tasks))
        tasks = [get_task(task) for task in names]
        held_out = HeldOut(vp, model, tasks, cases)
        for task in tasks:
            truth, written = held_out.cases(task), held_out.written(task, sampling)
            table.setdefault(name, {})[task.name] = digit_tasks.summary(task.name, written, truth)
            if task.name not in beside["cheat"]:
                beside["copies"][task.name] = digit_tasks.summary(task.name, held_out.copies, truth)
                cheats = [digit_tasks.cheat(task.name, case) for case in truth]
                beside["cheat"][task.name] = digit_tasks.summary(task.name, cheats, truth)
            told = task.text or task.reads  # else the clip has nothing to do with its case
            titles = [f"{name}, {task.name}" + (f": {case.caption}" if told else "") for case in truth[:2]]
            drawn += zip(titles, written, strict=False)
            click.echo(f"scored: {name}: {task.name}: {table[name][task.name]['right']}", err=True)
    rows = {**table, **beside}
    click.echo(digit_tasks.to_markdown(rows))
    if report:
        text = json.dumps(digit_tasks.to_json(rows), indent=1)
        write_atomically(report, lambda path: path.write_text(text + "\n"))
    if sheet:
        save_contact_sheet(sheet, [Row(title, s.frames, s.audio, s.sample_rate) for title, s in drawn])
        click.echo(f"wrote {sheet}", err=True)


class HeldOut:
    """The first held-out clips, true and as records, with what each model makes of them."""

    def __init__(self, vp: Any, model: str, tasks: list, count: int) -> None:
        from videopoet_jax.cli.tokenize_clips import TokenizeClips
        from videopoet_jax.data.moving_digits import SAMPLE_RATE, render
        from videopoet_jax.data.views import views_of
        from videopoet_jax.pretrained import resolve

        s = vp.settings
        frames, height, width = s.size
        self.vp = vp
        self.true = [render("test", 1, i, num_frames=frames, height=height, width=width) for i in range(count)]
        self.rate = SAMPLE_RATE
        keys = sorted({key for task in tasks for key in task.keys(sound=False)} | {"video"})
        data = SimpleNamespace(silence=True, audio_levels=s.audio_levels, text_length=s.text_length, embeddings="")
        tokenize = TokenizeClips(resolve(model), BATCH, data, keys, SEED, structure={})
        examples = [
            {"video": c.frames, "audio": c.audio, "has_audio": True, "caption": c.truth.caption, "number": i}
            for i, c in enumerate(self.true)
        ]
        parts = [examples[i : i + BATCH] for i in range(0, count, BATCH)]
        self.records = [record for part in parts for record in tokenize(part)]
        self.shown = [views_of(e, keys, (SEED, e["number"])) for e in examples]

    def cases(self, task: Any) -> list:
        """What each clip is held against."""
        from videopoet_jax.evaluate.digit_tasks import Case

        painted = next((span.key for span in task.reads if span.key in ("inpainting", "outpainting")), None)
        return [
            Case(c.truth.caption, c.frames, c.audio, self.rate, painted and views[painted])
            for c, views in zip(self.true, self.shown, strict=True)
        ]

    def written(self, task: Any, sampling: dict) -> list:
        """The model's clips; `sampling` in place of its own settings, where it is not None."""
        vp, s = self.vp, self.vp.settings
        guidance = sampling["guidance_scale"] if task.text else 1.0
        layout = vp.layouts.layout(task, vp.layouts.grid(*s.size))
        seeds = [(zlib.crc32(f"{task.name} {number}".encode()), 0) for number in range(len(self.records))]
        drawn = vp.sampling(**(sampling | {"guidance_scale": guidance}))
        prepared = vp.prepare_records(layout, self.records, seeds=seeds, sampling=drawn)
        return [self._sample(clip.frames, clip.audio) for clip in vp.decode(vp.lm.generate(prepared))]

    @functools.cached_property
    def copies(self) -> list:
        """What the tokenizers make of the true clips."""
        video, audio = self.vp.video_tokenizer, self.vp.audio_tokenizer
        return [self._sample(video.decode(r["video"]), audio.decode(r["audio"])) for r in self.records]

    def _sample(self, frames: Any, audio: Any) -> Any:
        import numpy as np

        from videopoet_jax.evaluate.digit_table import Sample

        return Sample(frames, np.zeros_like(self.true[0].audio) if audio is None else audio, self.rate)
