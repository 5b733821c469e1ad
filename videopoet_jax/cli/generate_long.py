"""`videopoet generate --seconds`, `--story`: a film of any length, written to its file as it grows."""

import itertools
import time
from pathlib import Path
from typing import Any

import click


def read_story(path: Path) -> list[str]:
    """The lines of a story, one for the first clip and one for each piece after it.

    Raises:
        ValueError: not UTF-8, or an empty line before the end.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; save it as UTF-8, one prompt a line.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise ValueError(f"{path}, line {number}: empty; write what happens, or the line before it again.")
    if not lines:
        raise ValueError(f"{path}: no prompt in it; write one a line.")
    return [line.strip() for line in lines]


def write_film(
    vp: Any, target: Path, prompts: list[str], seconds: float | None, given: dict[str, Any], **options: Any
) -> dict[str, int | float]:
    """Writes the film and returns what is told of it: `{"frames": 81, "seconds": 10.125, "total_seconds": 12.3}`.

    Args:
        prompts: of the first clip, and of every piece; the last one goes on to the end.
        seconds: at least so long; None is as long as there are prompts.
        given: the first clip's task, image, video, …

    Raises:
        ValueError: as `generate_long`, or a length that is none.
    """
    from videopoet_jax.data.media import VideoWriter
    from videopoet_jax.generate.long import GIVEN, generate_long, pieces_for, repeated

    s, pieces = vp.settings, len(prompts) - 1
    if seconds is not None:
        if not 0 < seconds < float("inf"):
            raise ValueError(f"--seconds {seconds:g}: above 0 is needed.")
        each = options["num_frames"] or s.num_frames
        pieces = max(pieces, pieces_for(round(seconds * s.fps), each, each - GIVEN))
    started, frames = time.perf_counter(), 0
    film = generate_long(vp, repeated(prompts, pieces), given=given, **options)
    first = next(film)
    rate = first.sample_rate
    with VideoWriter(target, fps=s.fps, sample_rate=rate) as writer:
        for number, clip in enumerate(itertools.chain([first], film)):
            writer.write(clip.frames)
            if rate:
                writer.write_audio(clip.audio)
            frames += len(clip.frames)
            left = (time.perf_counter() - started) / (number + 1) * (pieces - number)
            so_far = f"piece {number + 1}/{pieces + 1} · {frames / s.fps:.1f} s of film"
            click.echo(f"{so_far} · {left:.0f} s left", err=True)
    return {"frames": frames, "seconds": frames / s.fps, "total_seconds": round(time.perf_counter() - started, 2)}
