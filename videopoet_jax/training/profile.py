"""Traces of a few steps, for TensorBoard or Perfetto: of steps that were named, or on demand while a run goes on.

    videopoet train … --profile 100:105        steps 100 to 104, of every process
    kill -USR1 PID                             the next 5 steps of that process

Traces lie in `WORKDIR/profile/plugins/profile/TIME/HOST.xplane.pb` (`tensorboard --logdir WORKDIR/profile`, with the
plugin `xprof`) and, for ui.perfetto.dev, `HOST.trace.json.gz`.
"""

import contextlib
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jax

STEPS = 5  # ours: of a trace on demand
SIGNAL = signal.SIGUSR1


def parse_steps(text: str) -> range:
    """`"100:105" → range(100, 105)`

    Raises:
        ValueError: not FIRST:END, or no step between them.
    """
    match = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    if not match or not 0 < int(match[1]) < int(match[2]):
        raise ValueError(f"--profile {text}: FIRST:END is needed, steps from 1, END not included; such as 100:105.")
    return range(int(match[1]), int(match[2]))


class Profiler:
    """Starts and ends traces between steps; listens for SIGUSR1 while the `with` block runs."""

    def __init__(self, workdir: Path, steps: range, say: Callable[[str], None]):
        self._folder, self._steps, self._say = workdir / "profile", steps, say
        self._asked = False
        self._end: int | None = None  # the step before which the trace that runs ends

    def __enter__(self) -> "Profiler":
        if listens := threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = signal.signal(SIGNAL, self._ask)
        self._listens = listens
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        if self._listens:
            signal.signal(SIGNAL, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _stop(self) -> None:
        if self._end is not None:
            self._end = None
            jax.profiler.stop_trace()
            self._say(f"traced, into {self._folder}")

    def step(self, number: int, ready: Callable[[], None]) -> contextlib.AbstractContextManager:
        """Around step `number`; where a trace begins or ends, `ready` waits for the steps before it."""
        if self._end is not None and number >= self._end:
            ready()
            self._stop()
        if self._end is None and (self._asked or number in self._steps):
            ready()
            self._end = number + STEPS if self._asked else self._steps.stop
            self._asked = False
            jax.profiler.start_trace(self._folder)
        return jax.profiler.StepTraceAnnotation("train", step_num=number)
