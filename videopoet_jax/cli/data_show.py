"""`videopoet data show`: what a language model is trained on, back as films, sound and tables of tokens."""

from pathlib import Path
from typing import Any

import click
import numpy as np

SHOWN_TOKENS = 6  # of a run, from its start and its end


@click.command("show")
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--config", "spec", required=True, help="The language model's config, such as lm:nano.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("-n", "--count", type=click.IntRange(1), default=8, show_default=True, help="Examples.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which ones.")
@click.option("--out-dir", type=click.Path(path_type=Path), required=True, help="A folder for them.")
def command(records, spec, overrides, count, seed, out_dir) -> None:
    """Draw training examples from RECORDS, tasks as often as training would, and turn them back.

    Each becomes NNNN_TASK.mp4, everything that its sequence holds beside one another, and NNNN_TASK.txt, its tokens.
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_for, rates_of
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data.task_batches import example_of, kinds_of
    from videopoet_jax.data.token_records import TokenSource
    from videopoet_jax.pretrained import check_digests
    from videopoet_jax.pretrained.files import write_atomically

    check_targets(out_dir / "0000.txt")
    config = load_config(spec, overrides, needs=("data.audio_levels", "data.text_length", "data.tasks"))
    source = TokenSource(records)
    models = records.resolve() / source.meta["models"]
    check_digests(models, source.meta["digests"], f"the records in {records} were made with")
    kinds = kinds_of(source.index, source.meta["keys"], rates_of(config), layouts_for(config, source))
    rates, rng = np.array([kind.rate for kind in kinds]), np.random.default_rng(seed)
    shown = Shown(models)
    for place, number in enumerate(rng.choice(len(kinds), count, p=rates / rates.sum())):
        layout, record = kinds[number].layout, source[int(rng.choice(kinds[number].records))]
        example = example_of(layout, layout.length, layout.text_length, {})(record)
        stem = out_dir / f"{place:04d}_{layout.task.name}"
        table = token_table(layout, example["ids"], str(record.get("caption", "")))
        write_atomically(stem.with_suffix(".txt"), lambda path, table=table: path.write_text(table))
        shown.write(stem.with_suffix(".mp4"), layout, example["ids"])
        click.echo(f"wrote {stem}.mp4, .txt: {layout.length} tokens, {record.get('caption', 'no caption')!r}")


def token_table(layout: Any, ids: np.ndarray, caption: str) -> str:
    """A line for each run of tokens: where it stands, on which side, what it is.

    `   7 …    86  output  video        v3 v9 v17 … v5   time 0 … 81`
    """
    from videopoet_jax.sequence import name_of

    lines = [f"{layout.task.name}: {caption}" if caption else layout.task.name, layout.show(), ""]
    for s in layout.segments:
        names = [name_of(int(token)) for token in ids[s.start : s.stop]]
        if len(names) > 2 * SHOWN_TOKENS:
            names = [*names[:SHOWN_TOKENS], "…", *names[-SHOWN_TOKENS:]]
        time = layout.positions[s.start : s.stop, 0]
        side, kind = ("output" if s.output else "prefix"), s.key or s.kind
        lines.append(
            f"{s.start:5d} … {s.stop - 1:5d}  {side}  {kind:12s} {' '.join(names)}   time {time[0]} … {time[-1]}"
        )
    return "\n".join(lines) + "\n"


class Shown:
    """Sequences as films: the tokenizers that made their codes turn them back."""

    def __init__(self, models: Path) -> None:
        from videopoet_jax.audio.tokenizer import AudioTokenizer
        from videopoet_jax.video.tokenizer import VideoTokenizer

        self.video = VideoTokenizer.from_pretrained(models / "video_tokenizer")
        self.audio = AudioTokenizer.from_pretrained(models / "audio_tokenizer")

    def write(self, path: Path, layout: Any, ids: np.ndarray) -> None:
        """An mp4 of every clip in a sequence, given or to be written, and of its sound."""
        from videopoet_jax.data.media import write_video
        from videopoet_jax.evaluate.sheets import side_by_side
        from videopoet_jax.sequence import disassemble
        from videopoet_jax.sequence.grid import FRAME_RATE

        codes = disassemble(layout, ids)
        spans = {span.key: "read" for span in layout.task.reads} | {span.key: "written" for span in layout.task.writes}
        panels = {}
        for key in (key for key in codes if key not in ("audio", "text_ids")):
            part = {s.output for s in layout.segments if s.key == key}
            what = "read and written" if len(part) == 2 else spans[key]
            panels[f"{key}, {what}"] = self.video.decode(codes[key])
        frames, grid = layout.grid.frames, layout.grid
        if not panels:  # sound alone
            panels = {"sound": np.zeros((frames, grid.height, grid.width, 3), np.uint8)}
        sound = {}
        if "audio" in codes:
            sound = {"audio": self.audio.decode(codes["audio"]), "sample_rate": self.audio.sample_rate}
        write_video(path, side_by_side(panels), fps=FRAME_RATE, **sound)
