"""`videopoet generate --seconds`, `--story`: a film of any length, written to its file as it grows."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np


def read_story(path: Path) -> list[str]:
    """The lines of a story, one for the first clip and one for each piece after it.

    Raises:
        ValueError: no text, or an empty line before the end.
    """
    lines = read_lines(path)
    if "" in lines:
        raise ValueError(f"{path}, line {lines.index('') + 1}: empty; write what happens, or the line before it again.")
    return lines


def read_lines(path: Path) -> list[str]:
    """The lines of a text, one prompt each, without what is empty at the end.

    Raises:
        ValueError: not UTF-8, or nothing in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; save it as UTF-8, one prompt a line.") from error
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path}: no prompt in it; write one a line.")
    return [line.strip() for line in lines]


def write_film(
    vp: Any,
    target: Path,
    prompts: list[str],
    *,
    seconds: float | None,
    video: Path | None,
    given: dict[str, Any],
    **options: Any,
) -> dict[str, int | float]:
    """Writes the film and returns what is told of it: `{"frames": 81, "seconds": 10.125, "total_seconds": 12.3}`.

    Args:
        prompts: of the first clip, and of every piece; the last one goes on to the end.
        seconds: at least so long; None is as long as there are prompts.
        video: a film that is gone on with from its end; it is copied before what follows, in the model's size.
        given: without it, the first clip's task, image, …

    Raises:
        ValueError: as `generate_long`, or a length that is none.
    """
    from videopoet_jax.data.media import VideoWriter
    from videopoet_jax.generate.long import GIVEN, first_of, generate_long, joined, pieces_for, repeated

    s = vp.settings
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds {seconds:g}: a number above 0 is needed, and not without end.")
    clip = options["num_frames"] or s.num_frames
    if clip <= GIVEN:
        raise ValueError(f"--num-frames {clip}: a film goes on from {GIVEN} frames; more are needed.")
    started, frames, start = time.perf_counter(), 0, None
    with VideoWriter(target, fps=s.fps, sample_rate=s.sample_rate) as writer:

        def write(piece: Any) -> None:
            nonlocal frames
            writer.write(piece.frames)
            writer.write_audio(piece.audio)
            frames += len(piece.frames)

        if video:
            for piece in copied(video, s):
                start = piece if start is None else joined([start, piece])
                surplus = len(start.frames) - GIVEN  # the last frames come again, from `generate_long`
                if surplus > 0:
                    write(first_of(start, surplus))
                    start = joined([start], keep=GIVEN)
        there = frames + (clip if start is None else len(start.frames))
        asked = pieces_for(round(seconds * s.fps), there, clip) if seconds is not None else 0
        pieces = max(len(prompts) - (start is None), asked)
        film = generate_long(vp, repeated(prompts, pieces + (start is None)), start=start, given=given, **options)
        for number, piece in enumerate(film):
            write(piece)
            left = (time.perf_counter() - started) / (number + 1) * (pieces - number)
            so_far = f"piece {number + 1}/{pieces + 1} · {frames / s.fps:.1f} s of film"
            click.echo(f"{so_far} · {left:.0f} s left", err=True)
    return {"frames": frames, "seconds": frames / s.fps, "total_seconds": round(time.perf_counter() - started, 2)}


def copied(video: Path, settings: Any) -> Iterator[Any]:
    """A film in the model's size and rates, a `Clip` of at most 16 frames at a time; silence where it has no sound."""
    from videopoet_jax.data.media import EmptyStream, iterate_audio, iterate_frames, probe
    from videopoet_jax.generate.clip import Clip

    s = settings
    sound = iterate_audio(video, sample_rate=s.sample_rate) if probe(video).has_audio else iter(())
    held = np.zeros(0, np.float32)
    frames = iterate_frames(video, fps=s.fps, height=s.height, width=s.width)
    while some := list(itertools.islice(frames, 16)):
        needed = round(len(some) / s.fps * s.sample_rate)
        try:
            while len(held) < needed and (chunk := next(sound, None)) is not None:
                held = np.concatenate([held, chunk])
        except EmptyStream:
            sound = iter(())
        audio, held = held[:needed], held[needed:]
        yield Clip(np.stack(some), s.fps, np.pad(audio, (0, needed - len(audio))), s.sample_rate)
