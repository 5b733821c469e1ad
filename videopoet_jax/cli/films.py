"""Files and folders of films, worked on by all devices: what becomes of what, where, and what went wrong.

**Names.** One file and `--out FILE` is that file. Else `--out` is a folder, in which a film keeps its path below the
folder that was given, or below the nearest one that holds everything that was given:

    tokenize films --out codes           films/a.mp4  films/b/a.mp4   →  codes/a.mp4.npz  codes/b/a.mp4.npz
    tokenize x/a.mp4 y/a.mp4 --out c     x/a.mp4  y/a.mp4             →  c/x/a.mp4.npz  c/y/a.mp4.npz
    detokenize codes --out films         codes/a.mkv.npz              →  films/a.mkv.mp4

**Devices.** Every chunk of a film needs the past of the chunk before it, so a film stays on one device and the films
are spread: each device holds a copy of the models and works on `STREAMS` films at a time, so that one is decoded while
another is computed. All run the same programs, so a film's codes do not depend on where it was or on its company. One
film alone is work for one device.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import numpy as np

from videopoet_jax.cli.main import in_one_line
from videopoet_jax.cli.targets import check_targets, leave_none_empty
from videopoet_jax.layers.tokenizer import Tokenizer

STREAMS = 2  # ours: films at a time on one device
OTHER_SUFFIXES = frozenset((".npz", ".npy", ".json", ".txt", ".png", ".jpg", ".jpeg", ".webp"))  # no folder's either
_Item = TypeVar("_Item")


class Job(NamedTuple):
    source: Path
    target: Path


class Made(NamedTuple):
    """What became of a film, in words, and what went wrong though it was made."""

    said: str
    wrong: str | None = None


class Tally(NamedTuple):
    """How many films were made, and how many could not be."""

    written: int
    failed: int


class Models(NamedTuple):
    """The tokenizers of a model directory on one device; `audio` is None where there is none."""

    video: Tokenizer
    audio: Tokenizer | None


def working(command: Callable) -> Callable:
    """The options that say how a video is looked at; `sequence.grid.working_size` is the rule."""
    side = "Working {}: the nearest multiple of the tokenizer's stride (16: 24 becomes 32), by default {}."
    options = (
        click.option("--height", type=int, help=side.format("height", "it follows the width, or is 64")),
        click.option("--width", type=int, help=side.format("width", "it follows the height")),
        click.option("--fps", type=click.FloatRange(0, 1_000, min_open=True), default=8.0, show_default=True,
                     help="Working frame rate."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def check_sides(film: Path, shown: tuple[int, int], size: tuple[int, int], made: tuple[int, int]) -> None:
    """Looks at a film's sizes, (height, width), before it is decoded: as it is, as it is worked on, as it is written.

    Raises:
        ValueError: no file takes frames as large as those to be made.
    """
    from videopoet_jax.data.media import MAX_PIXELS, MAX_SIDE

    if max(made) > MAX_SIDE or made[0] * made[1] > MAX_PIXELS:
        shown, size, made = ("×".join(map(str, sides)) for sides in (shown, size, made))
        raise ValueError(
            f"{film}: {shown} (height × width), worked on at {size}, gives frames of {made}; sides of up to "
            f"{MAX_SIDE:,} and {MAX_PIXELS:,} pixels are written; give --height and --width, and its middle is taken."
        )


def groups(frames: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Frames [h w 3] → pieces [t h w 3] of up to `count`."""
    held: list[np.ndarray] = []
    for frame in frames:
        held.append(frame)
        if len(held) == count:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def plan(inputs: Collection[Path], out: Path, suffixes: Collection[str], name: Callable[[str], str]) -> list[Job]:
    """What is to be made of what; in folders, the files with these suffixes. `name` turns a file's name into another.

    Raises:
        FileNotFoundError, ValueError: an input that is not there, a folder without films, one name for two films, one
            file to be written for several, or one of another kind.
    """
    from videopoet_jax.data.clip_files import SOUND_SUFFIXES

    inputs = [Path(os.path.abspath(path)) for path in inputs]
    ending, suffix = Path(name("film")).suffix, out.suffix.lower()
    if suffix != ending and not out.is_dir() and (out.exists() or suffix in SOUND_SUFFIXES | OTHER_SUFFIXES):
        raise ValueError(
            f"--out {out}: a file that is no {ending}; name it {out.with_suffix(ending).name}, or name a folder."
        )
    if suffix == ending and not out.is_dir():
        if len(inputs) > 1 or inputs[0].is_dir():
            raise ValueError(f"--out {out}: names one file; name a folder for the films of a folder, or for several.")
        jobs = [Job(source, out) for source in _sources(inputs, suffixes)]
        check_targets(out, inputs=tuple(inputs))
        return jobs
    root = os.path.commonpath([path if path.is_dir() else path.parent for path in inputs])
    jobs = {}
    for source in _sources(inputs, suffixes):
        path = source.relative_to(root)
        job = Job(source, out / path.with_name(name(path.name)))
        other = jobs.setdefault(job.target, job)
        if other.source != source:
            raise ValueError(f"{other.source} and {source}: both would be {job.target}; rename one of them.")
    leave_none_empty({target.parent for target in jobs})
    check_targets(*list(jobs)[:1])
    return list(jobs.values())


def _sources(inputs: list[Path], suffixes: Collection[str]) -> list[Path]:
    from videopoet_jax.data.clip_files import walk

    found: dict[Path, None] = {}
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; check the path.")
        inside = [path / name for name in sorted(walk(path, suffixes))] if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"{path}: no files in it that could be read ({' '.join(sorted(suffixes)[:6])} …).")
        found.update(dict.fromkeys(inside))
    return list(found)


def digests(model: str) -> dict[str, str]:
    """The digests of a model directory's tokenizers, {folder: digest}; without `audio_tokenizer` if it has none."""
    from videopoet_jax.pretrained import digest, resolve

    found = {"video_tokenizer": digest(resolve(model, "video_tokenizer"))}
    try:
        beside = resolve(model, "audio_tokenizer")
    except FileNotFoundError:
        return found
    if beside.name == "audio_tokenizer":  # else it is the directory of the video tokenizer itself, or of a pipeline
        found["audio_tokenizer"] = digest(beside)
    return found


def load(model: str, parts: Collection[str]) -> Models:
    """The tokenizers that `parts` names, on the default device."""
    from videopoet_jax.audio.tokenizer import AudioTokenizer
    from videopoet_jax.video.tokenizer import VideoTokenizer

    audio = AudioTokenizer.from_pretrained(model) if "audio_tokenizer" in parts else None
    return Models(VideoTokenizer.from_pretrained(model), audio)


def work_through(
    jobs: Collection[Job],
    load: Callable[[], Models],
    work: Callable[[Job, Models, Callable[[Iterable[_Item]], Iterator[_Item]]], Made],
    debug: bool = False,
) -> Tally:
    """Does all jobs, says in their order what each has given, on stderr where one fails; the others go on.

    `work` gets a function too, which hands on the items of an iterable until the user stops the command. `debug` shows
    the traceback of what fails.
    """
    import jax

    stop, places, failed = threading.Event(), queue.SimpleQueue(), 0

    def until_stopped(items: Iterable[_Item]) -> Iterator[_Item]:
        for item in items:
            if stop.is_set():
                raise RuntimeError("stopped")
            yield item

    def do(job: Job) -> Made:
        device, models = place = places.get()
        try:
            with jax.default_device(device):
                return work(job, models, until_stopped)
        finally:
            places.put(place)

    devices = jax.local_devices()[: len(jobs)]
    held = []
    for device in devices:
        with jax.default_device(device):
            held.append((device, load()))
    for place in held * STREAMS:
        places.put(place)
    with ThreadPoolExecutor(STREAMS * max(1, len(devices))) as pool:
        try:
            for job, future in [(job, pool.submit(do, job)) for job in jobs]:
                try:
                    made = future.result()
                except Exception as error:  # whatever is wrong with one film, or with us, the others are not lost
                    failed += 1
                    if debug:
                        traceback.print_exception(error)
                    complain(job, in_one_line(error))
                else:
                    if made.wrong:
                        complain(job, made.wrong)
                    click.echo(made.said)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Tally(len(jobs) - failed, failed)


def complain(job: Job, words: str) -> None:
    """One line on stderr, which names the film."""
    click.echo(f"error: {words}" if str(job.source) in words else f"error: {job.source}: {words}", err=True)


def conclude(total: int, tally: Tally, report: Path | None, **figures: Any) -> None:
    """Says how it went, writes the figures, and leaves with 2 if any film failed or `sound_lost` counts some."""
    import json

    from videopoet_jax.pretrained.files import write_atomically

    figures = {"films": total, "unchanged": total - sum(tally), **tally._asdict(), **figures}
    films, unchanged = f"{total} film{'s' * (total != 1)}", figures["unchanged"]
    lost = figures.get("sound_lost", 0)
    written = f"{tally.written} written" + (f" ({lost} without sound that could not be read)" if lost else "")
    click.echo(f"{films}: {written}, {unchanged} unchanged, {tally.failed} failed.")
    if report:
        write_atomically(report, lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))
    if tally.failed or lost:
        sys.exit(2)
