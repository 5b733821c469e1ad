"""Work that several processes share: each does its part, all of them learn what every part gave.

sums = together("sums", lambda: sum_of(files[number() :: count()]))        # [of process 0, of process 1, …]
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

_CALLS: Counter[str] = Counter()  # of `together`, by purpose


def count() -> int:
    """How many processes there are. Unlike `jax.process_count` it takes no accelerator, which may be busy training."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def number() -> int:
    """This process's number, counted from 0; takes no accelerator either."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def together(purpose: str, work: Callable[[], Any], seconds: float = 3600) -> list[Any]:
    """What `work` gives on each process, on all of them: `2 processes, number → [0, 1] and [0, 1]`

    The answers, of what JSON holds, go through JAX's coordinator and through no device: a background thread may call
    this while the others train. All processes call it equally often for one `purpose`.

    Args:
        seconds: how long to wait for the slowest.

    Raises:
        RuntimeError: `work` raised on another process, or a process did not answer. What it raised here is raised here.
    """
    if count() == 1:
        return [work()]
    from jax._src.distributed import global_state  # where Orbax finds it too: JAX offers it nowhere else

    coordinator, call = global_state.client, _CALLS[purpose]
    _CALLS[purpose] += 1

    def key(call: int, process: int) -> str:
        return f"videopoet/{purpose}/{call}/{process}"

    mine, error = None, None
    try:
        mine = json.dumps({"answer": work()})
    except Exception as raised:
        error = raised
    coordinator.key_value_set(key(call, number()), mine or json.dumps({"error": f"{type(error).__name__}: {error}"}))
    wait = int(1000 * seconds)
    texts = [coordinator.blocking_key_value_get(key(call, process), wait) for process in range(count())]
    if call:  # everyone has read the answers before these
        coordinator.key_value_delete(key(call - 1, number()))
    if error is not None:
        raise error
    answers = [json.loads(text) for text in texts]
    for process, answer in enumerate(answers):
        if "error" in answer:
            raise RuntimeError(f"process {process}: {answer['error']}")
    return [answer["answer"] for answer in answers]
