"""`videopoet generate`: prompts, pictures, videos or sounds → mp4 files with sound."""

import json
import re
import sys
import time
from pathlib import Path

import click

from videopoet_jax.cli.generate_long import read_lines, read_story, write_film
from videopoet_jax.cli.given import media_files, media_options, read_given, warn_plainly
from videopoet_jax.cli.targets import check_targets
from videopoet_jax.generate.presets import CAMERAS, STYLES, extended

# Files are named after their prompt, letters of any script; a file system takes 255 bytes, temporary names some more.
MAX_NAME = 120
MAX_ROWS = 64  # of the contact sheet


@click.command()
@click.argument("prompt", required=False)
@click.option("--model", default="nano", show_default=True, help="A shipped name or a directory of save_pretrained.")
@click.option("--prompts-file", type=click.Path(path_type=Path), help="One prompt a line → 0000.mp4, 0001.mp4, …")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The mp4 to write; by default named after prompt and seed."
)
@click.option("--out-dir", type=click.Path(path_type=Path), help="Where the clips of a prompts file go.")
@click.option("--sheet", type=click.Path(path_type=Path), help=f"Also draw the first clips, at most {MAX_ROWS} (PNG).")
@click.option("--task", help="A task's name; by default the one that the inputs make plain.")
@media_options
@click.option("--prefix-frames", type=click.Choice(["1", "5", "9", "13"]), help="How many frames of --video are gone "
              "on from, where nothing else says it; by default 5.")  # fmt: skip
@click.option("--seconds", type=float, help="A film of at least this length, in constant memory: its last second is "
              "gone on from, again and again; first that of --video, if it is given.")  # fmt: skip
@click.option("--story", type=click.Path(path_type=Path), help="A film of one prompt a line: the first is the first "
              "clip's, each other one that of the second after.")  # fmt: skip
@click.option("--num-frames", type=int, help="1 + 4·k; by default the model's own.")
@click.option("--height", type=int, help="A multiple of the tokenizer's stride; by default the model's own.")
@click.option("--width", type=int, help="Likewise.")
@click.option("--num-videos-per-prompt", type=click.IntRange(1), default=1, show_default=True)
@click.option("--guidance-scale", type=float, help="1 is none; by default the model's own.")
@click.option("--negative-prompt", help="What guidance leads away from.")
@click.option("--camera", type=click.Choice(tuple(CAMERAS)), help="Put its words behind every prompt.")
@click.option("--style", type=click.Choice(tuple(STYLES)), help="Likewise.")
@click.option("--prompt-suffix", help="Words of your own behind every prompt.")
@click.option("--temperature", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True,
              help="Clips at a time; they are written before the next ones begin.")  # fmt: skip
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def command(
    prompt, model, prompts_file, out, out_dir, sheet, image, last_image, video, audio, mask, structure, prefix_frames,
    batch_size, report, seconds, story, camera, style, prompt_suffix, **options,
):  # fmt: skip
    """Generate clips. PROMPT is a text; without one, and without media, the model dreams."""
    film = bool(story) or seconds is not None
    if story and prompt:
        raise ValueError("a prompt and --story: both were given; make it the story's first line.")
    if film and (prompts_file or sheet or options["num_videos_per_prompt"] > 1):
        raise ValueError("--seconds, --story: one film, without --prompts-file, --sheet and --num-videos-per-prompt.")
    prompts = read_story(story) if story else _prompts(prompt, prompts_file)
    prompts = [extended(text, camera=camera, style=style, suffix=prompt_suffix) for text in prompts]
    copies, seed = options["num_videos_per_prompt"], options["seed"]
    suffix = ".png" if options["task"] == "text_to_image" and not film else ".mp4"
    targets = _targets(prompts, copies, prompts_file is not None, out, out_dir, seed, suffix)
    files = dict(image=image, last_image=last_image, video=video, audio=audio, mask=mask, structure=structure)
    check_targets(*targets, sheet, report, inputs=(*media_files(files), prompts_file, story))
    started = time.perf_counter()
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.lm.decode import written
    from videopoet_jax.training.compilation import use_compilation_cache

    warn_plainly()
    use_compilation_cache()
    vp = VideoPoet.from_pretrained(model)
    alone = video if film and not (options["task"] or mask or audio or prefix_frames) else None  # gone on with whole
    size = (options["num_frames"], options["height"], options["width"])
    prefix = int(prefix_frames) if prefix_frames else None
    given = {} if alone else read_given(vp.settings, options["task"], files, size, prefix)
    loaded = time.perf_counter()
    if film:
        _report(report, _write_film(vp, targets[0], prompts, seconds, alone, given, options))
        click.echo(f"wrote {targets[0]}")
        return
    click.echo(f"Loaded {model} in {loaded - started:.1f} s; compiling, once (afterwards it is in the cache) …")
    rows, drawn, writing = [], 0, 0.0
    at_once = max(1, batch_size // copies)
    for begin in range(0, len(prompts), at_once):
        some = prompts[begin : begin + at_once]
        prepared = vp.prepare(some if prompts_file else (some[0] or None), **given, **options)
        tokens = _Tokens(len(prepared.seeds) * sum(segment.length for segment, *_ in written(prepared.layout)))
        clips = vp.decode(vp.lm.generate(prepared, callback=tokens))
        drawn += tokens.count
        writing += tokens.seconds
        for clip, target in zip(clips, targets[begin * copies :], strict=False):
            clip.save(target)
            click.echo(f"wrote {target}" + (f": {clip.caption}" if clip.caption is not None else ""))
        rows = [*rows, *zip((p for p in some for _ in range(copies)), clips, strict=True)][:MAX_ROWS]
    if sheet:
        _save_sheet(sheet, rows)
        click.echo(f"wrote {sheet}")
    total = time.perf_counter() - started
    captions = [clip.caption for _, clip in rows if clip.caption is not None]
    figures = {
        "clips": len(targets),
        "load_seconds": round(loaded - started, 2),
        "total_seconds": round(total, 2),
        "tokens": drawn,
        "decode_tokens_per_second": round(drawn / max(1e-9, writing), 1),
    }
    click.echo(
        f"{len(targets)} clips, {drawn} tokens at {figures['decode_tokens_per_second']} a second, {total:.1f} s in all."
    )
    _report(report, figures | ({"captions": captions} if captions else {}))


def _report(path: Path | None, figures: dict) -> None:
    """Writes the figures, where a file is named."""
    from videopoet_jax.pretrained.files import write_atomically

    if path:
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(figures, indent=1) + "\n"))


def _write_film(vp, target, prompts, seconds, video, given, options) -> dict:
    """`write_film` with those options that a film has; of what it does not take something is told."""
    options = {name: value for name, value in options.items() if name != "num_videos_per_prompt"}
    sizes = {name: options.pop(name) for name in ("height", "width")}
    if told := [f"--{name}" for name, value in sizes.items() if value is not None]:
        raise ValueError(f"{', '.join(told)}: a film has the model's own size; leave it out.")
    given = given | {"task": options.pop("task")}
    return write_film(vp, target, prompts, seconds=seconds, video=video, given=given, **options)


class _Tokens:
    """Progress on stderr, and the seconds that writing took (compiling included the first time)."""

    def __init__(self, count: int) -> None:
        self.count, self.started, self.seconds = count, time.perf_counter(), 0.0

    def __call__(self, done: int, of: int) -> None:
        self.seconds = time.perf_counter() - self.started
        left, rate = self.seconds / done * (of - done), self.count * done / of / max(1e-9, self.seconds)
        end = "\n" if done == of else ""
        if sys.stderr.isatty():
            told = f"segments {done}/{of} · {rate:.0f} tokens/s · {left:.0f} s left"
            click.echo(f"\r{told}   {end}", nl=False, err=True)


def _prompts(prompt: str | None, prompts_file: Path | None) -> list[str]:
    if prompts_file is None:
        return [prompt or ""]
    if prompt is not None:
        raise ValueError("a prompt and --prompts-file: both were given; use one of them.")
    return [line for line in read_lines(prompts_file) if line]


def _targets(prompts, copies, from_file, out, out_dir, seed, suffix) -> list[Path]:
    """The file of every clip, prompt by prompt."""
    if from_file:
        if out:
            raise ValueError("--out with --prompts-file: it names one file; use --out-dir.")
        return [(out_dir or Path(".")) / f"{i:04d}{suffix}" for i in range(len(prompts) * copies)]
    words = re.sub(r"[^\w]+", "_", prompts[0].lower()).strip("_")
    name = words.encode()[:MAX_NAME].decode(errors="ignore") or "video"
    target = out or (out_dir or Path(".")) / f"{name}_{seed}{suffix}"
    if target.suffix.lower() != suffix:
        what = "pictures are written as png" if suffix == ".png" else "clips are written as mp4"
        raise ValueError(f"--out {target}: {what}; name it {target.with_suffix(suffix).name}.")
    if copies == 1:
        return [target]
    return [target.with_stem(f"{target.stem}_{i}") for i in range(copies)]


def _save_sheet(path: Path, clips: list[tuple]) -> None:
    """Draws (prompt, clip) pairs."""
    from videopoet_jax.evaluate.sheets import Row, save_contact_sheet

    save_contact_sheet(path, [Row(p, c.frames, c.audio, c.sample_rate) for p, c in clips])
