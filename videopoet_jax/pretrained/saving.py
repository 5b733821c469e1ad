"""A tree of arrays → safetensors, one shard at a time, whatever the arrays are: of NumPy, of JAX, or still in a file.

    save_params("model", tree)                           model.safetensors
    save_params("model", tree, max_shard_size="2GB")     model-00001-of-00003.safetensors …, with
                                                         model.safetensors.index.json where that is more than one

Beside the arrays of the shard at hand nothing is held in memory.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.pretrained.files import INDEX, WEIGHTS, flatten, is_table, write_atomically
from videopoet_jax.pretrained.tensors import FLOATS, LAYERS, as_dtype

SHARD_SIZE = "2GB"  # ours: what an export may hold in memory; Hugging Face's libraries write 5 GB and more
_UNITS = {"": 1} | {f"{k}{b}": base**n for b, base in (("B", 1000), ("iB", 1024)) for n, k in enumerate("KMGT", 1)}


class Piece(NamedTuple):
    """An array as it will lie in the file, not read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


def as_bytes(size: int | str) -> int:
    """`"2GB" → 2000000000`, `"1MiB" → 1048576`, `77 → 77`"""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(size).strip())
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if not found or found[2].lower() not in units or (number := int(float(found[1]) * units[found[2].lower()])) < 1:
        raise ValueError(f"max_shard_size {size!r}: a number of bytes is needed; give one such as 500MB or 2GB.")
    return number


def save_params(
    directory: str | os.PathLike,
    tree: Mapping[str, Any],
    dtype: str | None = "bfloat16",
    max_shard_size: int | str = SHARD_SIZE,
) -> None:
    """Writes the weights: floating-point leaves cast to `dtype`, integers and tables of codes as they are.

    Args:
        tree: nested; what lies under `layers` is stacked by layer (`tensors`).
        max_shard_size: bytes of a file, such as "2GB"; an array that is larger alone has a file of its own.
    """
    shards = _shards(_pieces(tree, as_dtype(dtype)), as_bytes(max_shard_size))
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    _write(Path(directory), dict(zip(names if len(shards) > 1 else [WEIGHTS], shards, strict=True)))


def _pieces(tree: Mapping[str, Any], dtype: np.dtype | None) -> list[Piece]:
    """The arrays by name, layer by layer, layer 2 before layer 10."""
    pieces = []
    for name, leaf in flatten(tree).items():
        array = leaf if hasattr(leaf, "shape") else np.asarray(leaf)
        floating = array.dtype in (*FLOATS.values(), np.dtype(np.float64))
        cast = dtype is not None and floating and not is_table(name.split("."))
        wanted, shape = dtype if cast else np.dtype(array.dtype), tuple(array.shape)

        def read(part: Any, array: Any = array, wanted: np.dtype = wanted) -> np.ndarray:
            return np.ascontiguousarray(np.asarray(array if part is ... else array[part]).astype(wanted, copy=False))

        top, _, rest = name.partition(".")
        if top == LAYERS:
            for i in range(shape[0]):
                pieces.append(Piece(f"{LAYERS}.{i}.{rest}", shape[1:], wanted, lambda i=i, read=read: read(i)))
        else:
            pieces.append(Piece(name, shape, wanted, lambda read=read: read(...)))
    return sorted(
        pieces, key=lambda piece: [part.zfill(9) if part.isdigit() else part for part in piece.name.split(".")]
    )


def _shards(pieces: list[Piece], most: int) -> list[list[Piece]]:
    """In order, as many in a shard as fit: `sizes 3 3 5 9 1, most 6 → 3 3 | 5 | 9 | 1`"""
    shards: list[list[Piece]] = [[]]
    for piece in pieces:
        if shards[-1] and sum(p.size for p in shards[-1]) + piece.size > most:
            shards.append([])
        shards[-1].append(piece)
    return shards


def _write(directory: Path, shards: dict[str, list[Piece]]) -> None:
    """All files under other names first: what fails leaves an older model as it was."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    temporary: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        for name, pieces in shards.items():
            handle, path = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
            os.close(handle)
            temporary[name] = Path(path)
            stack.callback(temporary[name].unlink, missing_ok=True)
            save_file({p.name: p.read() for p in pieces}, path, metadata={"format": "flax"})
            temporary[name].chmod(0o644)
        (directory / INDEX).unlink(missing_ok=True)  # of an older model: with new shards it would be a mixture
        for name, path in temporary.items():
            path.replace(directory / name)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(p.size for pieces in shards.values() for p in pieces)},
            "weight_map": {p.name: name for name, pieces in shards.items() for p in pieces},
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        write_atomically(directory / INDEX, lambda path: path.write_text(text, encoding="utf-8"))
    for old in directory.glob("model*.safetensors"):
        if old.name not in shards and re.fullmatch(r"model(-\d{5}-of-\d{5})?\.safetensors", old.name):
            old.unlink()
