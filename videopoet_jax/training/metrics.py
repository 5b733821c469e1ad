"""What a run tells: one progress line, `metrics.jsonl` and TensorBoard.

step 1200/5000 · loss 0.4213 · 2.10 steps/s · 30 min left
"""

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from videopoet_jax.layers.objective import Mean, Metrics
from videopoet_jax.training.nonfinite import MOST, SKIPPED, NonFinite, decisive, told


def steps_in_flight() -> int:
    """Steps that the host may run ahead of the devices, so that none is waited for.

    None on CPU, where it gains nothing: XLA's CPU devices share the threads of their process, and with many steps in
    flight two of them have been seen waiting for each other for ever (jaxlib 0.10.2).
    """
    return 0 if jax.default_backend() == "cpu" else 2


class Pending(NamedTuple):
    """A step whose metrics are still on the devices."""

    step: int
    ids: dict[str, np.ndarray]
    metrics: Metrics


class Window:
    """Metrics since the last progress line, read from the devices a few steps late; `say` tells of skipped steps."""

    def __init__(self, in_flight: int, say: Callable[[str], None] = print) -> None:
        self._in_flight, self._say, self._skipped = in_flight, say, 0
        self._pending: deque[Pending] = deque()
        self._values: dict[str, list[tuple[float, float]]] = {}

    def add(self, step: int, ids: dict[str, np.ndarray], metrics: Metrics) -> None:
        """Notes a step that was just started, and reads the one started `in_flight` steps before."""
        self._pending.append(Pending(step, ids, metrics))
        while len(self._pending) > self._in_flight:
            self._read(self._pending.popleft())

    def drain(self) -> None:
        """Waits for every step that was started, and reads its metrics."""
        while self._pending:
            self._read(self._pending.popleft())

    def take(self) -> dict[str, float]:
        """The mean of every metric over the steps since the last call; waits for the last of them.

        A `Mean` counts by its weight, and where nothing was there it is left out.
        """
        self.drain()
        values, self._values = self._values, {}
        sums = {name: np.sum(pairs, axis=0) for name, pairs in values.items()}
        return {name: float(total / weight) for name, (total, weight) in sums.items() if weight}

    def _read(self, pending: Pending) -> None:
        found = jax.device_get(pending.metrics)
        pairs = {name: value if isinstance(value, Mean) else (value, 1.0) for name, value in found.items()}
        values = {name: float(total / weight) if weight else 0.0 for name, (total, weight) in pairs.items()}
        skipped = values.pop(SKIPPED, 0.0)
        if not all(np.isfinite(value) for value in decisive(values).values()):
            self._skipped += 1
            text = told(pending.step, values, pending.ids)
            if not skipped or self._skipped > MOST:
                raise NonFinite(text)
            self._say(f"skipped, {self._skipped} of {MOST} at most: {text}")
            return
        for name in values:
            self._values.setdefault(name, []).append(tuple(map(float, pairs[name])))


def duration(seconds: float) -> str:
    """`42 → 42 s`, `600 → 10 min`, `7500 → 2 h 05 min`"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def speed(seconds_per_step: float) -> str:
    """`0.5 → 2.00 steps/s`, `2.1 → 2.10 s/step`"""
    return f"{1 / seconds_per_step:.2f} steps/s" if seconds_per_step < 1 else f"{seconds_per_step:.2f} s/step"


class Reporter:
    """Writes progress and metrics of a run; on processes other than the first, nothing."""

    def __init__(self, workdir: str | Path, steps: int):
        self._workdir = Path(workdir)
        self._steps = steps
        self._silent = jax.process_index() != 0
        self._terminal = sys.stderr.isatty()
        self._file = self._board = None
        self._start = self._first = 0.0

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._terminal and not self._silent:
            sys.stderr.write("\n")
        for sink in (self._file, self._board):
            if sink is not None:
                sink.close()

    def begin(self, step: int) -> None:
        """Opens the files, at the step that training starts or goes on from."""
        self._first, self._start = step, time.perf_counter()
        if self._silent:
            return
        from tensorboardX import SummaryWriter  # here: slow to import, and needed on one process only

        self._workdir.mkdir(parents=True, exist_ok=True)
        self.rewind(step)
        self._board = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=step or None, flush_secs=30)

    def rewind(self, step: int) -> None:
        """Metrics of steps past this one are written anew."""
        if self._silent:
            return
        if self._file is not None:
            self._file.close()
        path = self._workdir / "metrics.jsonl"
        keep_until(path, step)
        self._file = path.open("a", buffering=1)

    def say(self, text: str) -> None:
        """One line on stderr, above the progress line."""
        if not self._silent:
            sys.stderr.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
            sys.stderr.flush()

    def restart_clock(self, step: int) -> None:
        """Speed and time left are counted from here (compiling is over)."""
        self._first, self._start = step, time.perf_counter()

    def progress(self, step: int, values: dict[str, float]) -> None:
        """Shows and stores the metrics of the steps up to `step`."""
        self.store(step, values)
        seconds = (time.perf_counter() - self._start) / max(1, step - self._first)
        left = duration(seconds * (self._steps - step))
        if now := values.get("speed/steps_per_second"):  # without what is evaluated and saved in between
            seconds = 1 / now
        mfu = f" · MFU {values['speed/mfu']:.1%}" if "speed/mfu" in values else ""
        line = f"step {step}/{self._steps} · loss {values['loss']:.4f} · {speed(seconds)}{mfu} · {left} left"
        if not self._silent:
            sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
            sys.stderr.flush()

    def store(self, step: int, values: dict[str, float]) -> None:
        """Writes metrics to `metrics.jsonl` and TensorBoard."""
        if self._silent:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)


def _step_of(line: str) -> int | float:
    """The step of a line of `metrics.jsonl`; past every step if a kill cut the line short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def keep_until(path: Path, step: int) -> None:
    """Drops the lines of `path` past `step`: a run that resumes at 100 writes 101 and on once more."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept))
        temporary.rename(path)
