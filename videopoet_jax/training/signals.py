"""Stopping a run politely: SIGTERM or Ctrl-C once saves and leaves, twice leaves at once.

Several processes must stop after the same step. `jax.distributed` listens for SIGTERM itself and lets them agree, so
there SIGTERM is left to it, and Ctrl-C is handed on as one.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# EX_TEMPFAIL of sysexits.h: "try again later", which a scheduler may take as the word to restart and resume.
STOPPED = 75


class Stopped(SystemExit):
    """The run was told to stop and has saved its step; uncaught, the process exits with code 75."""

    def __init__(self, step: int):
        super().__init__(STOPPED)
        self.step = step


class StopSignal:
    """Listens for SIGTERM and SIGINT while the `with` block runs; the second one acts as it did before."""

    def __init__(self) -> None:
        self._received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            handlers = dict.fromkeys(SIGNALS, self._receive)
            if jax.process_count() > 1:
                handlers = {signal.SIGINT: self._hand_on}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: Any) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        self._restore()
        os.write(2, b"\nstopping once this step is done and saved (a compilation is waited for); again: at once\n")

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; several processes agree on the step (JAX's preemption service)."""
        if jax.process_count() == 1:
            return self._received
        return multihost_utils.reached_preemption_sync_point(step)
