"""Stopping a run politely: SIGTERM or Ctrl-C once saves and leaves, twice leaves at once.

Several processes must stop after the same step: JAX lets them agree on one, told of SIGTERM by a handler of its own.
Python runs a handler only between two of its own instructions, and a compilation can be one for minutes. So a thread
hears of every signal at once, and does what cannot wait.
"""

import ctypes
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
TOLD = b"\nstopping once this step is done and saved (a compilation is waited for); again: at once\n"

# Python can neither give back nor call a handler that was written in C, as JAX's is.
_handle = ctypes.CDLL(None).signal
_handle.argtypes, _handle.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


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
        self._of_jax: int | None = None  # the address of its handler
        self._writer: int | None = None  # to the thread that listens
        self._steps = 0

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            if jax.process_count() > 1:
                self._of_jax = _handle(signal.SIGTERM, None)
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, args=(reader,), daemon=True)
            self._watcher.start()
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        if self._writer is None:
            return
        self._restore()
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)
        self._watcher.join()
        if self._of_jax:
            _handle(signal.SIGTERM, self._of_jax)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _watch(self, reader: int) -> None:
        """Reads the numbers of signals, as they come, until the other end is closed."""
        told = False
        while number := int.from_bytes(os.read(reader, 1)):
            if told and number == signal.SIGTERM:
                os._exit(128 + number)  # as a shell counts signals
            if not told and number in SIGNALS:
                told = True
                os.write(2, TOLD)
                if self._of_jax:
                    _Handler(self._of_jax)(signal.SIGTERM)
        os.close(reader)

    def requested(self) -> bool:
        """Whether to stop after this step; called once a step, by all processes, and true for all after the same."""
        self._steps += 1
        if jax.process_count() == 1:
            return self._received
        # Steps of this call of `fit`: whoever is told before the first one stops after it, also in a run that goes on.
        return multihost_utils.reached_preemption_sync_point(self._steps)
