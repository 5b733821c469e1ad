"""Processes that train as one must mean the same: config, code, vocabulary.

agree(config=config, code=code())   →   nothing, or in every process
    process 1 is not as process 0: config.train.steps: 12 → 13; …
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

BELOW = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")  # what numbers depend on


def plain(config: Any) -> Any:
    """A config as JSON gives it back: ConfigDicts become dicts, tuples lists."""
    return json.loads(json.dumps(config.to_dict() if hasattr(config, "to_dict") else config))


def changes(before: Any, now: Any, name: str = "config") -> list[str]:
    """What differs between two configs: `{"lr": 1}, {"lr": 2} → ["config.lr: 1 → 2"]`"""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [line for key in keys for line in changes(before.get(key), now.get(key), f"{name}.{key}")]
    return [] if before == now else [f"{name}: {before} → {now}"]


def code() -> dict[str, str]:
    """What runs here: a digest of this package's source, and the versions of the libraries below it."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != "configs":  # which are elsewhere in a checkout; the config itself is compared
            digest.update(f"{name}\n".encode() + path.read_bytes())
    return {root.name: digest.hexdigest()[:12]} | {name: importlib.metadata.version(name) for name in BELOW}


def agree(**facts: Any) -> None:
    """Compares facts (ConfigDicts, or anything JSON holds) with process 0's; all processes call it together.

    Raises:
        ValueError: a process has others; in all of them.
    """
    if jax.process_count() == 1:
        return
    own = json.dumps({name: plain(fact) for name, fact in facts.items()})
    everyone = [json.loads(words) for words in _exchange(own.encode())]
    for number, theirs in enumerate(everyone):
        if lines := [line for name in facts for line in changes(everyone[0][name], theirs[name], name)]:
            raise ValueError(
                f"process {number} is not as process 0: {'; '.join(lines)}; "
                f"give all of them the same command, code and files."
            )


def _exchange(words: bytes) -> list[bytes]:
    """Those of every process, in order."""
    sizes = multihost_utils.process_allgather(np.int32(len(words)))
    row = np.zeros(max(sizes), np.uint8)
    row[: len(words)] = np.frombuffer(words, np.uint8)
    rows = multihost_utils.process_allgather(row)
    return [bytes(row[:size]) for row, size in zip(rows, sizes, strict=True)]
