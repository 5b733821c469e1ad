"""What annotates films shot by shot, a shard of them at a time, on this machine or on any of a cluster.

progress/00007.npz    all that is known of the films of shard 7: a text in JSON, and a thumbnail of each shot
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FPS = 8  # the rate that the rules hold for
SIDE = 256  # pixels of the shorter side that films are annotated at
THUMBNAIL = 160, 120  # pixels that its width and height have at most, for a film may have thousands of shots; ours


class Shot(NamedTuple):
    """A shot's id, its line of the manifest, its `Annotations`; `thumbnail()` is its middle frame, small, [h w 3]."""

    id: str
    entry: dict[str, Any]
    annotations: Any
    thumbnail: Callable[[], np.ndarray]


class Annotator:
    """Annotates shards of films. `job`: {"out": the directory of `progress/`, "threads": films at once}."""

    def __init__(self, job: dict) -> None:
        from videopoet_jax.data.token_shards import begun

        self.out, self.threads = Path(job["out"]), job["threads"]
        if not begun(self.out):
            raise FileNotFoundError(f"{self.out}: not seen by this worker; mount the share where the caller has it.")

    def __call__(self, number: int) -> None:
        """Writes what is known of shard `number`, unless it is there."""
        from videopoet_jax.cli.listing import listed_in
        from videopoet_jax.data.token_shards import Failure
        from videopoet_jax.pretrained.files import write_atomically

        path = path_of(self.out, number)
        if path.is_file():
            return
        with ThreadPoolExecutor(self.threads) as pool:
            found = [one for film in pool.map(_found, listed_in(self.out, number)) for one in film]
        shots = [one for one in found if isinstance(one, Shot)]
        told = {
            "shots": [[shot.id, shot.entry, shot.annotations._asdict()] for shot in shots],
            "failures": [one for one in found if isinstance(one, Failure)],
        }
        arrays = {str(place): shot.thumbnail() for place, shot in enumerate(shots)}
        text = np.frombuffer(json.dumps(told).encode(), np.uint8)
        write_atomically(path, lambda temporary: _save(temporary, text, arrays))


def path_of(directory: Path, number: int) -> Path:
    """Where a shard of annotations is, or will be."""
    from videopoet_jax.data.token_shards import PROGRESS

    return directory / PROGRESS / f"{number:05d}.npz"


def _save(path: Path, text: np.ndarray, thumbnails: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, text=text, **thumbnails)


def read(directory: Path, number: int) -> tuple[list[Shot], list[Any]]:
    """A shard's shots, film by film, and its `Failure`s. Thumbnails are read when they are asked for."""
    from videopoet_jax.data.curation import Annotations, Letterbox
    from videopoet_jax.data.token_shards import Failure

    path = path_of(directory, number)
    told = json.loads(_array(path, "text").tobytes())
    shots = []
    for place, (name, entry, found) in enumerate(told["shots"]):
        annotations = Annotations(**{**found, "letterbox": Letterbox(*found["letterbox"])})
        shots.append(Shot(name, entry, annotations, functools.partial(_array, path, str(place))))
    return shots, [Failure(*failure) for failure in told["failures"]]


def failures_of(directory: Path, number: int) -> list[Any] | None:
    """The films of a shard that could not be read; None of one that is yet to be annotated."""
    return read(directory, number)[1] if path_of(directory, number).is_file() else None


def forget(directory: Path, number: int) -> None:
    """Makes a shard one that is yet to be annotated."""
    path_of(directory, number).unlink(missing_ok=True)


def _array(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return file[name]


def _found(listed: Any) -> list[Any]:
    """A film's shots, or a `Failure`, but not both: of a film that breaks off in the middle no shot is sure."""
    from videopoet_jax.cli.listing import attempted

    return list(attempted(listed, lambda item: iter(list(shots_of(item)))))


def shots_of(item: Any) -> Iterator[Shot]:
    """The shots of a film, or of the stretch that an item is.

    Raises:
        FileNotFoundError, MediaError: it cannot be read, or no shot of it is as long as a frame is shown.
    """
    from videopoet_jax.data.curation import annotate, shots
    from videopoet_jax.data.item_windows import stretch
    from videopoet_jax.data.items import check_place
    from videopoet_jax.data.media import MediaError, iterate_frames, probe

    check_place(item)
    info = probe(item.path)
    shorter = min(info.height, info.width)
    height, width = (max(16, round(side * min(1, SIDE / shorter))) for side in (info.height, info.width))
    sizes = {"height": height, "width": width}
    stored = iterate_frames(item.path, fps=info.fps, start=item.start, end=item.end, **sizes)
    count = 0
    for shot in shots(stored):
        start, end = (round(item.start + frame / float(info.fps), 3) for frame in shot)
        if end - start < 1 / FPS:
            continue
        count += 1
        times = {"start": start, "end": end}
        seen = Middle(iterate_frames(item.path, fps=FPS, **times, **sizes), count=max(1, int((end - start) * FPS)))
        audio = _sound(item.path, **times) if info.has_audio else None
        annotations = annotate(seen, fps=FPS, audio=audio, caption=item.caption)
        entry = {"path": item.path, "caption": item.caption, **times}
        picture = _thumbnail(seen.frame)
        yield Shot(item.id + stretch(start, end), entry, annotations, lambda picture=picture: picture)
    if not count:
        raise MediaError(f"{item.path}: no shot of it lasts {1 / FPS:g} s; give a longer one.")


def _sound(path: str, **times: float) -> Iterator[np.ndarray]:
    """As much of it as there is: it may end before the pictures do, and no shot is lost for that."""
    from videopoet_jax.data.media import MediaError, iterate_audio

    with contextlib.suppress(MediaError):
        yield from iterate_audio(path, sample_rate=16_000, **times)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail(THUMBNAIL)
    return np.asarray(picture)


class Middle:
    """Frames on their way, of which about `count` are expected; the one in the middle stays as `frame`."""

    def __init__(self, frames: Iterator[np.ndarray], count: int) -> None:
        self._frames, self._place, self.frame = frames, count // 2, np.zeros((1, 1, 3), np.uint8)

    def __iter__(self) -> Iterator[np.ndarray]:
        for place, frame in enumerate(self._frames):
            if place <= self._place:
                self.frame = frame
            yield frame
