"""`videopoet data stats`: what can be trained on, in a folder of videos or in one of token records."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np


@click.command("stats")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--num-frames", type=click.IntRange(1), default=17, show_default=True, help="Frames of a window.")
@click.option("--fps", type=float, default=8.0, show_default=True, help="Frames a second of the windows.")
@click.option("--digests", is_flag=True, help="Of records: read every file through and compare its SHA-256.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def command(folder, num_frames, fps, digests, report) -> None:
    """Say what can be trained on in a FOLDER of videos, or of the records that `videopoet data prepare` wrote.

    Videos are read no further than to the first sound; of records the index alone is read.
    """
    from videopoet_jax.cli.targets import check_targets
    from videopoet_jax.data.media import MAX_FPS
    from videopoet_jax.data.token_records import INDEX, META
    from videopoet_jax.data.token_shards import begun
    from videopoet_jax.pretrained.files import write_atomically
    from videopoet_jax.sequence import latent_frames

    check_targets(report)
    if not 0 < fps <= MAX_FPS:
        raise ValueError(f"--fps {fps:g}: above 0 and at most {MAX_FPS:,} frames a second are needed; ask for others.")
    latent_frames(num_frames)
    if (folder / META).is_file():
        figures, words = of_records(folder, digests)
    elif begun(folder):
        raise ValueError(f"{folder}: begun, not finished; the same `videopoet data prepare` goes on there.")
    elif (folder / INDEX).is_file() or any(folder.glob("[0-9]*.array_record")):
        figures, words = of_records(folder, digests)  # which says what is missing
    elif digests:
        raise ValueError(f"--digests: of records alone, and {folder} has none; leave it, or name a folder of records.")
    else:
        figures, words = of_videos(folder, num_frames, fps)
    if report:
        write_atomically(report, lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))
    click.echo(f"{folder}: {words}")


def of_videos(folder: Path, num_frames: int, fps: float) -> tuple[dict[str, Any], str]:
    """Figures, and a sentence of them; what is left out is told on stderr.

    Raises:
        ValueError: nothing can be trained on.
    """
    from videopoet_jax.data.clip_files import find_clips, read_captions
    from videopoet_jax.data.media import MediaError, is_silent, probe
    from videopoet_jax.data.sources import HELD_OUT_FRAMES

    least = (num_frames + HELD_OUT_FRAMES) / fps  # seconds: a window to train on, and what is held out
    usable, with_sound, files = [], 0, find_clips(folder)
    for file in files:
        try:
            info = probe(file.path)
        except (MediaError, OSError) as error:
            click.echo(f"left out: {one_line(str(error))}", err=True)
            continue
        if info.duration < least:
            name = one_line(str(file.path))
            click.echo(f"left out: {name}: {info.duration:.1f} s, at least {least:.1f} s are needed", err=True)
            continue
        usable.append(info)
        try:
            with_sound += info.has_audio and not is_silent(file.path, end=info.duration)
        except MediaError as error:
            click.echo(f"without its sound: {one_line(str(error))}", err=True)
    if not usable:
        raise ValueError(
            f"{folder}: none of its {len(files)} videos has {least:.1f} s that can be read; add longer ones."
        )
    seconds, captions = round(sum(info.duration for info in usable), 1), len(read_captions(folder))
    figures = {"files": len(files), "usable": len(usable), "seconds": seconds, "with_sound": with_sound}
    return figures | {"captions": captions}, (
        f"{len(usable)} of {len(files)} videos can be used, {seconds:.0f} s in all, {with_sound} with sound; "
        f"{captions} captions."
    )


def one_line(text: str) -> str:
    """A name may hold ends of lines, and bytes that are no text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def of_records(folder: Path, digests: bool) -> tuple[dict[str, Any], str]:
    """The same of token records: how many there are of each size, with sound and with a caption, in which views.

    Raises:
        ValueError: a file whose SHA-256 is not the one that was written down.
    """
    from videopoet_jax.data.token_records import FIELDS, TokenSource
    from videopoet_jax.sequence import Layouts, pixel_frames

    source = TokenSource(folder, by_number=False)
    if digests:
        source.check_digests()
    columns = dict(zip(FIELDS, np.asarray(source.index).T, strict=True))
    stride = Layouts.from_dict(source.meta["layouts"]).spatial_stride
    sizes = Counter(
        f"{pixel_frames(int(t))}×{h * stride}×{w * stride}"
        for t, h, w in zip(columns["latents"], columns["rows"], columns["columns"], strict=True)
    )
    sound, pieces = columns["audio_frames"] > 0, columns["pieces"]
    longest = int(pieces.max(initial=0))
    figures = {
        "records": len(source),
        "bytes": sum(file["bytes"] for file in source.files),
        "sizes": dict(sizes.most_common()),
        "with_sound": int(sound.sum()),
        "captions": int((pieces > 0).sum()),
        "longest_caption": longest,
        "video_tokens": int(np.prod(source.index[:, :3].astype(np.int64), axis=1).sum()),
        "views": list(source.meta["keys"]),
    }
    of_each = ", ".join(f"{count:,} of {size}" for size, count in sizes.most_common())
    return figures, (
        f"{len(source):,} records, {figures['bytes'] / 1e6:.1f} MB: {of_each}; {figures['with_sound']:,} with sound, "
        f"{figures['captions']:,} with a caption of up to {longest} pieces; views {', '.join(figures['views'])}."
    )
