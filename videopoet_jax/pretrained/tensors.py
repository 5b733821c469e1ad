"""Arrays that stay in their safetensors file until they are asked for, whole or in part.

    tensor = open_file("model.safetensors", None)["layers.0.mlp.up"]
    tensor.shape, tensor.dtype, tensor[:, 512:1024], np.asarray(tensor)

What a scan stacks under `layers` is stored layer by layer and read as one: `layers.0.w layers.1.w` [3] ↔ `layers.w`
[2 3]. So the names are those that the field knows, and no array is larger than one of a layer. Files that hold the
stacks themselves are read, too.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

LAYERS = "layers"  # the key under which a scan stacks its parameters, at the top of a model's tree
FLOATS = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
# Safetensors' names of dtypes; its 8-bit floats are not read.
CODES = {"BF16": FLOATS["bfloat16"], "BOOL": np.dtype(bool), "I8": np.dtype("i1"), "U8": np.dtype("u1")} | {
    f"{kind.upper()}{8 * size}": np.dtype(f"{kind}{size}") for kind in "fiu" for size in (2, 4, 8)
}


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """An array in a file. `tensor[2]` and `tensor[1:3, :5]` read a part, `np.asarray(tensor)` all of it; none is kept.

    Attributes:
        read: a number, a slice for each axis, or `...` → that part.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], np.ndarray]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, part: Any) -> np.ndarray:
        return self.read(part)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.read(...), dtype)


def as_dtype(name: str | None) -> np.dtype | None:
    """`"bfloat16" → dtype`; `None` stays `None` (keep what the file holds)."""
    if name is None:
        return None
    if str(name) not in FLOATS:
        raise ValueError(f"dtype {name!r}: unknown; use one of {', '.join(FLOATS)}.")
    return FLOATS[str(name)]


def open_file(path: Path, dtype: np.dtype | None) -> dict[str, Tensor]:
    """The arrays of a safetensors file, floats as `dtype` (None: as they are).

    Raises:
        ValueError: a header that is no safetensors header, or numbers of a kind that is not read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # Not mapped into memory, where what was read counts as taken until the system needs it.
        file = safe_open(path, framework="numpy", backend="pread")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a valid safetensors file ({error}); copy it again from its source.") from error

    def tensor(name: str) -> Tensor:
        view = file.get_slice(name)
        held = CODES.get(view.get_dtype())
        if held is None:
            raise ValueError(f"{path}: {name} is {view.get_dtype()}, which is not read; convert it to BF16 or F32.")
        wanted = dtype if dtype is not None and held in FLOATS.values() else held

        def read(part: Any) -> np.ndarray:
            array = file.get_tensor(name) if part is ... else np.asarray(view[part])
            return array.astype(wanted, copy=False)

        return Tensor(tuple(view.get_shape()), wanted, read)

    return {name: tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)


def stacked(tensors: Mapping[str, Any], source: Any, stack: Callable | None = None) -> dict[str, Any]:
    """`layers.0.w layers.1.w` [3] → `layers.w` [2 3]; other names stay.

    Args:
        stack: the layers' arrays → one; None is for `Tensor`s.

    Raises:
        ValueError: a layer is missing, or unlike the others.
    """
    whole: dict[str, Any] = {}
    layers: dict[str, dict[int, Any]] = {}
    for name, tensor in tensors.items():
        if found := re.fullmatch(rf"{LAYERS}\.(\d+)\.(.+)", name):
            layers.setdefault(f"{LAYERS}.{found[2]}", {})[int(found[1])] = tensor
        else:
            whole[name] = tensor
    for name, each in layers.items():
        if sorted(each) != list(range(len(each))) or len({(t.shape, t.dtype) for t in each.values()}) > 1:
            raise ValueError(f"{source}: {name}: of its layers {sorted(each)} one is missing or unlike; copy it again.")
        whole[name] = (stack or _stack)([each[i] for i in range(len(each))])
    return whole


def _stack(layers: list[Tensor]) -> Tensor:
    """Arrays of one shape as one with a first axis more."""

    def read(part: Any) -> np.ndarray:
        if isinstance(part, int):
            return layers[part][...]
        first, *rest = part if isinstance(part, tuple) else (slice(None),)
        parts = (layer[tuple(rest) or ...] for layer in layers[first])
        one = next(parts, np.empty((0,), layers[0].dtype))
        out = np.empty((len(layers[first]), *one.shape), one.dtype)
        for i in range(len(out)):  # beside the result one layer is held, not all of them
            out[i] = one if i == 0 else next(parts)
        return out

    return Tensor((len(layers), *layers[0].shape), layers[0].dtype, read)
