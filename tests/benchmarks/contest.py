"""Times our code against a peer's, each in a process of its own, in turns, so that a busy machine is busy for both.

The parent starts one process for every contestant; each prepares its work, warms up, and then waits on its input. A
line there makes it run once more and answer {seconds, cpu, peak_mb}. An idle one waits: one computes at a time.

Where others use the machine too, `cpu`, the processor time of all threads, tells the work apart from the waiting. It
is not fair to a library whose threads spin while they wait, so it stands beside the ratio and does not make it.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
THREADS = min(2, len(os.sched_getaffinity(0)))
ON_CPU = {"OMP_NUM_THREADS": str(THREADS), "JAX_PLATFORMS": "cpu"}
AT_LEAST = 0.3  # seconds: what takes less is run several times, and the time shared


def peak_mb() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(prepare: Callable[[], Callable[[], object]], memory: Callable[[], float] = peak_mb) -> None:
    """The contestant's side: `prepare()` gives the work, a function without arguments that returns when it is done.

    `memory` counts the most MiB held so far. A dict that its first run returns is told to the parent.
    """
    work = prepare()
    start = time.perf_counter()
    told = work()
    first = time.perf_counter() - start
    if first < 20:  # a second warm-up, unless one run is long enough for nothing to matter
        start = time.perf_counter()
        work()
        first = time.perf_counter() - start
    times = max(1, round(AT_LEAST / max(first, 1e-6)))
    print(json.dumps({"ready": told if isinstance(told, dict) else None}), flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            work()
        spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        print(json.dumps({k: v / times for k, v in spent.items()} | {"peak_mb": memory()}), flush=True)


class Failed(RuntimeError):
    """A contestant has no time (its own words are on stderr), or too long a one."""


class Contestant:
    """One process, from its start to `close`."""

    def __init__(self, script: Path, case: str, side: str, settings: Mapping[str, str]):
        self.side, self.name = side, f"{case}, {side}"
        environment = {**os.environ, **settings}
        command = [sys.executable, str(script), "--serve", case, side]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.peak_mb = 0.0
        answer = self._process.stdout.readline()
        self.alive = bool(answer)
        self.told = json.loads(answer)["ready"] if answer else None

    def run(self) -> None:
        if not self.alive:
            return
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        self.alive = bool(answer)
        if self.alive:
            result = json.loads(answer)
            self.seconds.append(result["seconds"])
            self.cpu.append(result["cpu"])
            self.peak_mb = result["peak_mb"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        return round(statistics.median(self.cpu), 4)


def contest(
    script: Path, case: str, sides: list[str], rounds: int, settings: Mapping[str, str] = ON_CPU
) -> dict[str, Contestant]:
    """All sides of a case, `rounds` times in turns; `settings` are environment variables of theirs.

    Raises:
        Failed: a side ended before its last run; a peer that cannot run has not lost.
    """
    contestants = {side: Contestant(script, case, side, settings) for side in sides}
    for _ in range(rounds):
        for contestant in contestants.values():
            contestant.run()
    for contestant in contestants.values():
        contestant.close()
    if dead := [contestant.name for contestant in contestants.values() if len(contestant.seconds) < rounds]:
        raise Failed(f"{'; '.join(dead)}: ended early; its words are on stderr.")
    return contestants


def each(names: Iterable[str], compare: Callable[[str], T]) -> tuple[dict[str, T], bool]:
    """What `compare` found for every case, and whether one failed, which prints a line {name, error}."""
    done, failed = {}, False
    for name in names:
        try:
            done[name] = compare(name)
        except Failed as error:
            failed = True
            print(json.dumps({"name": name, "error": str(error)}), flush=True)
    return done, failed


def load() -> float:
    """The machine's load average over the last minute; about two of it are ours."""
    return round(os.getloadavg()[0], 2)


@functools.cache
def versions() -> dict[str, str]:
    """Of JAX, PyTorch and the peers, as far as they are installed."""
    found = {}
    for name in ("jaxlib", "torch", "transformers", "vector-quantize-pytorch", "audiolm-pytorch", "encodec"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def rounded(number: float) -> float:
    """To four digits that count."""
    return float(f"{number:.4g}")


def line(
    name: str,
    ours: float,
    peer: float | None,
    unit: str,
    goal: float,
    *,
    floor: float = 0,
    ratio: float | None = None,
    **more: object,
) -> None:
    """Prints one result; ratio above 1: ours is better, by default peer / ours. `peer` is None where there is none to
    compare with.

    Raises:
        Failed: the ratio is below `floor`.
    """
    if peer is not None:
        ratio = round(peer / ours if ratio is None else ratio, 3)
    result = {"name": name, "ours": rounded(ours), "peer": peer and rounded(peer), "unit": unit}
    result |= {"ratio": ratio, "goal": goal, "floor": floor, "load": load(), **more, "versions": versions()}
    print(json.dumps(result, ensure_ascii=False), flush=True)
    if ratio is not None and ratio < floor:
        raise Failed(f"{name}: {ratio}, below the floor of {floor}")
