"""Films, or folders of them → pieces of so many frames that follow one another, never a whole film in memory.

    Pieces(paths, frames=17, least=17)     40 frames   →   0–16  17–33, six frames are left over
    Pieces(paths, frames=17, least=5)      40 frames   →   0–16  17–33  34–39

What cannot be read, or is too short, is left out with a warning.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from videopoet_jax.cli.films import groups


class Piece(NamedTuple):
    """`clip` is uint8 [t h w 3]; `first` counts the film's frames at the working rate."""

    path: Path
    first: int
    clip: np.ndarray


class Batch(NamedTuple):
    """`clips` is uint8 [b t h w 3]; `films` are the paths of the films that they are of."""

    clips: np.ndarray
    films: list[str]


class Pieces:
    """Iterates over pieces; counts the films `used`, lists those `left_out` (or cut off by damage).

    Args:
        paths: of films, as `film_paths` finds them.
        frames: of a piece.
        least: frames that the last piece of a film has at least; else it is dropped.
        limit: at most so many pieces of a film, evenly spread.
        held_out: only the end of each film, which training on its folder leaves out.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        frames: int,
        least: int,
        fps: float,
        height: int,
        width: int,
        limit: int | None = None,
        held_out: bool = False,
    ) -> None:
        self.paths, self.frames, self.least = paths, frames, least
        self.size = {"fps": fps, "height": height, "width": width}
        self.limit, self.held_out = limit, held_out
        self.used, self.left_out = 0, []

    def __iter__(self) -> Iterator[Piece]:
        from videopoet_jax.data.media import MediaError

        for path in self.paths:
            count = 0
            try:
                for count, piece in enumerate(self._cut(path), start=1):
                    self.used += count == 1
                    yield piece
                if not count:
                    end = " in its held-out end" if self.held_out else ""
                    raise MediaError(f"{path}: fewer than {self.least} frames{end}, which a piece has at least.")
            except (MediaError, OSError) as error:
                click.echo(f"warning: left out: {error}", err=True)
                self.left_out.append(path)

    def _cut(self, path: Path) -> Iterator[Piece]:
        from videopoet_jax.data.media import iterate_frames
        from videopoet_jax.data.sources import held_out_from

        first, wanted = 0, None
        if self.held_out or self.limit:  # the film's length must be known: it is decoded twice
            length = sum(1 for _ in iterate_frames(path, **{**self.size, "height": 16, "width": 16}))
            first = held_out_from(length) if self.held_out else 0
            wanted = spread(len(range(first, length - self.least + 1, self.frames)), self.limit)
        frames = islice(iterate_frames(path, **self.size), first, None)
        for number, clip in enumerate(groups(frames, self.frames)):
            if len(clip) >= self.least and (wanted is None or number in wanted):
                yield Piece(path, first + number * self.frames, clip)


def spread(count: int, limit: int | None) -> Collection[int]:
    """At most `limit` of 0 … count - 1, evenly spread.  `5, 3 → 0 2 4`"""
    return set(np.linspace(0, count - 1, min(limit or count, count)).round().astype(int).tolist())


def film_paths(sources: Sequence[Path]) -> list[Path]:
    """Files as they are, of folders every video in them; each once.

    Raises:
        FileNotFoundError: a source that is not there.
    """
    from videopoet_jax.data.clip_files import find_clips

    found: dict[Path, None] = {}
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source}: no such file; give videos or folders of videos.")
        found.update(dict.fromkeys([clip.path for clip in find_clips(source)] if source.is_dir() else [source]))
    return list(found)


def batches(pieces: Iterable[Piece], size: int, limit: int | None) -> Iterator[Batch]:
    """The first `limit` pieces, `size` at a time, the last batch as small as is left; all clips are of one shape."""
    pieces = islice(pieces, limit)
    while batch := list(islice(pieces, size)):
        yield Batch(np.stack([piece.clip for piece in batch]), [str(piece.path) for piece in batch])
