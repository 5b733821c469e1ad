"""How fast a run is, and what it needs: steps, tokens and operations a second, padding, memory.

    meter = Meter(mesh, work)            # work(batch) → Work(tokens, padding, flops) of this process's rows
    meter.add(rows)                      # of every step
    with meter.paused():                 # evaluating, saving
        …
    meter.take()    →    {"padding": 0.02, "speed/steps_per_second": 2.1, "speed/tokens_per_second": 41000.0,
                          "speed/mfu": 0.52, "memory/peak_gib": 61.2, "memory/limit_gib": 74.5}

MFU is the operations that the model needs (`work`) a second, of what all chips can do at most: nothing that is computed
again counts. What a platform does not tell, and of batches without `work` tokens and operations, is left out.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from videopoet_jax.parallel.chips import GIB, peak_of


class Work(NamedTuple):
    """What is in a process's rows of a batch.

    Attributes:
        tokens: without padding.
        padding: places that hold none.
        flops: operations that a step on them needs, forward and backward.
    """

    tokens: int
    padding: int
    flops: int


class Meter:
    """Counts since the last `take`. Other processes' rows are taken to hold what this one's do."""

    def __init__(self, mesh: Mesh, work: Callable[[dict], Work] | None):
        self._work = work
        peak = peak_of(mesh.devices.flat[0].device_kind)
        self._peak = peak and peak * mesh.size
        self.restart()

    def restart(self) -> None:
        """Forgets what was counted: compiling is over."""
        self._steps, self._done, self._start = 0, Work(0, 0, 0), time.perf_counter()

    def add(self, rows: dict[str, Any]) -> None:
        """Counts a step on these rows."""
        self._steps += 1
        if self._work is not None:
            self._done = Work(*(a + b for a, b in zip(self._done, self._work(rows), strict=True)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in the `with` block takes no time."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - begun

    def take(self) -> dict[str, float]:
        """The figures since the last call; the devices must have done what was added."""
        seconds, done, told = time.perf_counter() - self._start, self._done, dict(memory())
        if places := done.tokens + done.padding:
            told["padding"] = done.padding / places
        if self._steps:
            told["speed/steps_per_second"] = self._steps / seconds
        if done.tokens:
            told["speed/tokens_per_second"] = done.tokens * jax.process_count() / seconds
        if done.flops and self._peak:
            told["speed/mfu"] = done.flops * jax.process_count() / seconds / self._peak
        self.restart()
        return told


def memory() -> dict[str, float]:
    """Of this process's fullest device, since it started, and how much there is; nothing on CPUs, which do not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    names = {"peak_bytes_in_use": "memory/peak_gib", "bytes_limit": "memory/limit_gib"}
    return {told: max(s[name] for s in stats) / GIB for name, told in names.items() if all(name in s for s in stats)}
