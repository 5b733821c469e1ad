"""`videopoet data`: clips → token records, which the language model is trained on."""

import json
import os
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.data_show import command as show


@click.group()
def command() -> None:
    """Prepare training data, and look at it."""


command.add_command(show)


@command.command()
@click.option("--config", "spec", required=True, help="The language model's config, such as lm:nano.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--models", required=True, type=click.Path(path_type=Path),
              help="Directory with video_tokenizer, audio_tokenizer and text_encoder.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory of records to write.")
@click.option("--split", type=click.Choice(["train", "held_out"]), default="train", show_default=True)
@click.option(
    "--clips", "count", type=click.IntRange(1), help="At most so many records; by default one of every window and view."
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
def prepare(spec, overrides, models, out, split, count, batch_size) -> None:
    """Tokenize the clips of a config's data source: pictures, sound and captions.

    Pictures in all the ways that the tasks of `data.tasks` show them: with holes, as flow and depth.
    """
    from tqdm import tqdm

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_language import layouts_of, rates_of
    from videopoet_jax.cli.sources import augmentation, clips
    from videopoet_jax.data.loader import make_loader
    from videopoet_jax.data.token_records import TokenWriter
    from videopoet_jax.generate.pipeline import PARTS
    from videopoet_jax.pretrained import digest
    from videopoet_jax.training.compilation import use_compilation_cache

    use_compilation_cache()
    config = load_config(spec, overrides, needs=("data.audio_levels", "data.text_length", "data.views", "data.tasks"))
    keys = view_keys(rates_of(config))
    source, views, view = clips(config, split, size=count, structure="structure" in keys), 1, None
    if split == "train":
        views, view = config.data.views, augmentation(config)
        if views < 1 or (views > 1 and view is None):
            raise ValueError(f"data.views {views}: at least 1, and more only where data.zoom makes them differ.")
    total = min(count or len(source) * views, len(source) * views)
    tokenize = Tokenize(models, batch_size, config.data, keys, config.seed)
    # Relative, so that the records and the models can be moved together.
    meta = {
        "models": os.path.relpath(models.resolve(), out.resolve()),
        "digests": {part: digest(models / part) for part in PARTS},
        "keys": keys,
        "layouts": layouts_of(config).to_dict(),
    }
    loader = make_loader(
        source,
        batch_size=1,
        seed=config.seed,
        shuffle=total < len(source) * views,  # a part of the records: of windows from everywhere
        num_epochs=views,
        random_transform=view,
    )
    with TokenWriter(out, meta) as writer, tqdm(total=total, unit="clip") as progress:
        held: list[dict] = []
        for number, example in zip(range(total), loader, strict=False):
            held.append({name: value[0] for name, value in example.items()} | {"number": number})
            if len(held) == batch_size or number + 1 == total:
                for record in tokenize(held):
                    writer.write(record)
                progress.update(len(held))
                held = []
    click.echo(f"wrote {out}: {total} records")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--num-frames", type=click.IntRange(1), default=17, show_default=True, help="Frames of a window.")
@click.option("--fps", type=float, default=8.0, show_default=True, help="Frames a second of the windows.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def stats(folder, num_frames, fps, report) -> None:
    """Say what can be trained on in a FOLDER of videos; they are read no further than to the first sound."""
    from videopoet_jax.data.clip_files import find_clips, read_captions
    from videopoet_jax.data.media import MediaError, is_silent, probe
    from videopoet_jax.data.sources import HELD_OUT_FRAMES
    from videopoet_jax.pretrained.files import write_atomically

    least = (num_frames + HELD_OUT_FRAMES) / fps  # seconds: a window to train on, and what is held out
    usable, with_sound, files = [], 0, find_clips(folder)
    for file in files:
        try:
            info = probe(file.path)
        except (MediaError, OSError) as error:
            click.echo(f"left out: {error}", err=True)
            continue
        if info.duration < least:
            click.echo(f"left out: {file.path}: {info.duration:.1f} s, at least {least:.1f} s are needed", err=True)
            continue
        usable.append(info)
        try:
            with_sound += info.has_audio and not is_silent(file.path, end=info.duration)
        except MediaError as error:
            click.echo(f"without its sound: {error}", err=True)
    figures = {
        "files": len(files),
        "usable": len(usable),
        "seconds": round(sum(info.duration for info in usable), 1),
        "with_sound": with_sound,
        "captions": len(read_captions(folder)),
    }
    if not usable:
        raise ValueError(
            f"{folder}: none of its {len(files)} videos has {least:.1f} s that can be read; add longer ones."
        )
    if report:
        write_atomically(report, lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))
    click.echo(
        f"{folder}: {figures['usable']} of {figures['files']} videos can be used, {figures['seconds']:.0f} s in all, "
        f"{figures['with_sound']} with sound; {figures['captions']} captions."
    )


def view_keys(rates) -> list[str]:
    """The views of a clip that these tasks read or write."""
    from videopoet_jax.sequence import get_task

    keys = {key for name, rate in rates.items() if rate > 0 for key in get_task(name).keys(sound=False)}
    return sorted(keys | {"video"})


class Tokenize:
    """Clips → records, always `batch_size` at a time, so that a clip's codes do not depend on its place.

    Clips have the entries of `data.sources` and a `number`, which decides what their views draw.
    """

    def __init__(self, models: Path, batch_size: int, data, keys: list[str], seed: int) -> None:
        from videopoet_jax.audio.tokenizer import AudioTokenizer
        from videopoet_jax.text.embed import TextEncoder
        from videopoet_jax.video.tokenizer import VideoTokenizer

        self.video = VideoTokenizer.from_pretrained(models / "video_tokenizer")
        self.audio = AudioTokenizer.from_pretrained(models / "audio_tokenizer", rows=batch_size)
        self.text = TextEncoder.from_pretrained(models / "text_encoder")
        self.batch_size, self.data, self.keys, self.seed = batch_size, data, keys, seed

    def __call__(self, examples: list[dict]) -> list[dict]:
        from videopoet_jax.data.views import views_of

        shown = [views_of(e, self.keys, (self.seed, e["number"])) for e in examples]
        codes = {key: self._codes([views[key] for views in shown]) for key in self.keys}
        sound = self.audio.encode(np.stack([e["audio"] for e in examples]), self.data.audio_levels).codes
        captions = [str(e["caption"]) for e in examples]
        tokens = self.text.tokenize(captions, self.data.text_length)
        records = []
        for i, example in enumerate(examples):
            record = {key: codes[key][i] for key in self.keys}
            if example["has_audio"] or self.data.silence:
                record["audio"] = np.asarray(sound[i], np.int32)
            if captions[i]:
                record |= {"text_ids": tokens.ids[i], "text_mask": tokens.mask[i], "caption": captions[i]}
            records.append(record)
        return records

    def _codes(self, clips: list[np.ndarray]) -> np.ndarray:
        filled = np.stack([*clips, *clips[-1:] * (self.batch_size - len(clips))])
        return np.asarray(self.video.encode(filled).codes, np.int32)[: len(clips)]
