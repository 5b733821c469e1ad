"""Does the input keep up: our reader of films beside plain PyAV, and batches beside the training step that eats them?

    python tests/benchmarks/input_pipeline.py CLIPS [--only films|batches] [--seconds S] [--rounds R]

Needs no extra and no PyTorch. Prints JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, floor,
load, …}; the exit code is 1 if something failed or a ratio is below its floor.

`films`, those of the folder CLIPS: clips of 17 frames of 128×128, 8 a second, the middle cut out, with their sound at
16 kHz in one channel, as `videopoet data prepare` reads them (`data.items.decode`) and as `plain_pyav.py` does. Both
have one core and one thread, take film after film in turns, and are measured in seconds of the processor. What they
give is compared first: without as many frames and samples, or pictures and sound that agree, there is no line.

`batches`: seconds a row of the loader of `lm:nano` with all 19 tasks, as `videopoet train` builds it, beside those of
its jitted step, on records that `videopoet data prepare` makes of moving digits.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import contest
import numpy as np
import ours
import plain_pyav

SIZE = {"fps": 8, "num_frames": 17, "sample_rate": 16_000}
SIDE = 128
LEAST_DB = {"pictures": 25.0, "sound": 15.0}  # of every film: the edges of a picture may be a fifth of a pixel apart
CLIPS, GROUPS = 32, 4  # moving digits, and shapes of batches: each is compiled
WARM, READ, STEPS = 8, 64, 8  # batches

Read = tuple[np.ndarray, np.ndarray]  # pictures uint8 [n t h w 3], sound float32 [n s]


def read(path: Path, seconds: float | None) -> Read:
    """Our side of `plain_pyav.clips`."""
    from videopoet_jax.data.items import Item, decode

    item = Item(path.name, str(path), end=seconds)
    clips = [(clip["video"], clip["audio"]) for clip in decode(item, height=SIDE, width=SIDE, **SIZE)]
    return tuple(np.stack(part) for part in zip(*clips, strict=True))


def read_plainly(path: Path, seconds: float | None) -> Read:
    return plain_pyav.clips(path, side=SIDE, seconds=seconds, **SIZE)


SIDES: dict[str, Callable[[Path, float | None], Read]] = {"ours": read, "PyAV": read_plainly}


def decibels(power: float, difference: np.ndarray) -> float:
    """How far a difference lies below a power, 100 at most.  `255², all 1 → 48.1`"""
    return float(10 * np.log10(power / max(float(np.mean(np.square(difference))), power * 1e-10)))


def agreement(path: Path, mine: Read, other: Read) -> dict[str, float]:
    """PSNR of the pictures, and how far the difference of the sounds lies below the sound, both in dB.

    Raises:
        contest.Failed: that was not the same work.
    """
    for what, a, b in zip(LEAST_DB, mine, other, strict=True):
        if a.shape != b.shape:
            raise contest.Failed(f"{path}: {what} {list(a.shape)}, of PyAV {list(b.shape)}: not the same work.")
    found = {"pictures": decibels(255**2, mine[0].astype(np.float32) - other[0])}
    power = max(float(np.mean(np.square(sound))) for sound in (mine[1], other[1]))
    found["sound"] = decibels(power, mine[1] - other[1]) if power > 1e-9 else 100.0  # 1e-9: silence, for us
    for what, least in LEAST_DB.items():
        if found[what] < least:
            raise contest.Failed(f"{path}: {what} agree to {found[what]:.1f} dB, not {least:g}: not the same work.")
    return found


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """The process on one core: libav starts no threads then."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@one_core()
def compare_films(folder: Path, seconds: float | None, rounds: int, floor: float = 0.8) -> None:
    """Prints the line of the readers; a film that ours refuses is told and left out.

    Raises:
        contest.Failed: no film, or one that the two do not read alike; a ratio below the floor.
    """
    from videopoet_jax.data.items import items_of

    films: dict[Path, dict[str, float]] = {}
    frames = 0
    for path in (Path(item.path) for item in items_of(folder) if not item.image):
        try:
            mine = read(path, seconds)
        except (ValueError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        films[path] = agreement(path, mine, read_plainly(path, seconds))
        frames += mine[0].shape[0] * mine[0].shape[1]
    if not films:
        raise contest.Failed(f"{folder}: no film that can be read.")
    spent, walls = ({side: [0.0] * rounds for side in SIDES} for _ in range(2))
    for turn, (number, path) in itertools.product(range(rounds), enumerate(films)):
        for side in sorted(SIDES, reverse=(turn + number) % 2 == 1):
            wall, processor = time.perf_counter(), time.process_time()
            SIDES[side](path, seconds)
            spent[side][turn] += time.process_time() - processor
            walls[side][turn] += time.perf_counter() - wall
    ratios = [peer / mine for mine, peer in zip(spent["ours"], spent["PyAV"], strict=True)]
    wall = [peer / mine for mine, peer in zip(walls["ours"], walls["PyAV"], strict=True)]
    mine = statistics.median(spent["ours"])
    worst = {what: round(min(film[what] for film in films.values()), 1) for what in LEAST_DB}
    contest.line(
        f"clips of {len(films)} films on a core, against plain PyAV", mine, mine * statistics.median(ratios), "s", 0.9,
        floor=floor, ratios=[round(ratio, 3) for ratio in ratios], by_the_clock=round(statistics.median(wall), 3),
        frames=frames, least_db=worst,
    )  # fmt: skip


def compare_batches(rounds: int, settings: tuple[str, ...] = ()) -> None:
    """Prints the line of the loader; `settings` change the config further."""
    with tempfile.TemporaryDirectory() as folder:
        loader, step = of_nano(Path(folder) / "records", settings)
        eaten, made = [], []
        for _ in range(rounds):
            made.append(seconds_a_row(lambda: next(loader), WARM, READ))
            batches = itertools.cycle([next(loader) for _ in range(STEPS)])
            eaten.append(seconds_a_row(functools.partial(lambda ahead: step(next(ahead)), batches), STEPS, STEPS))
    ratios = [round(step / row, 2) for row, step in zip(made, eaten, strict=True)]
    row = statistics.median(made)
    contest.line(
        "a row of lm:nano's batches on all tasks, against the training step that takes it", row,
        row * statistics.median(ratios), "s", 5, floor=5, ratios=ratios,
        rows_per_second={"loader": round(1 / row), "step": round(1 / statistics.median(eaten))},
    )  # fmt: skip


def of_nano(records: Path, settings: tuple[str, ...]) -> tuple[Any, Callable[[dict], dict]]:
    """The loader of a training run of `lm:nano` on all tasks, and its step: it takes a batch and returns it."""
    jax = ours.jax_as_the_command_line("train")
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.main import main
    from videopoet_jax.cli.recipes import recipe_for
    from videopoet_jax.cli.train import Run
    from videopoet_jax.pretrained import resolve
    from videopoet_jax.sequence import TASKS
    from videopoet_jax.text.embed import TextEncoder
    from videopoet_jax.training.compilation import CompiledStep, use_compilation_cache
    from videopoet_jax.training.loop import split_ids, to_devices

    tasks = f"data.tasks={json.dumps(dict.fromkeys(TASKS, 1.0))}"
    with contextlib.redirect_stdout(sys.stderr):
        main(["data", "prepare", "--config", "lm:nano", "--set", tasks, "--models", str(resolve("nano")), "--clips",
              str(CLIPS), "--out", str(records)])  # fmt: skip
    use_compilation_cache()
    pieces = TextEncoder.from_pretrained("nano").model.vocabulary  # captions are written, too
    changes = (tasks, f"data.records={records}", f"data.groups={GROUPS}", f"model.text_pieces={pieces}", *settings)
    config = load_config("lm:nano", changes)
    recipe = recipe_for(config, records)
    run = Run(config, recipe, None)
    state, step = run.begin()
    held, compiled = [state], CompiledStep(step, run.mesh, lambda words: print(words, file=sys.stderr))

    def train(batch: dict) -> dict:
        with jax.set_mesh(run.mesh):
            held[0], metrics = compiled(held[0], to_devices(split_ids(batch)[0], run.mesh))
            jax.block_until_ready((held[0].params, metrics))
        return batch

    return recipe.batches, train


def seconds_a_row(batch: Callable[[], dict], warm: int, count: int) -> float:
    """Of so many batches, after some that warm up: they compile, or were read ahead."""
    for _ in range(warm):
        batch()
    start = time.perf_counter()
    rows = sum(len(batch()["ids"]) for _ in range(count))
    return (time.perf_counter() - start) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--seconds", type=float, help="of each film, from its beginning; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["films", "batches"])
    options = parser.parse_args()
    cases = {
        "films": functools.partial(compare_films, options.folder, options.seconds, options.rounds),
        "batches": functools.partial(compare_batches, options.rounds),
    }
    _, failed = contest.each([options.only] if options.only else cases, lambda name: cases[name]())
    sys.exit(failed)


if __name__ == "__main__":
    main()
