"""Other people's pickles of parameters → trees of NumPy arrays, without running anything that they name.

A pickle is a program: it may call whatever it can import. Here it can import nothing. The few names that pickled
parameters need (NumPy's way to write an array, flax's FrozenDict) lead to inert stand-ins of this module, which keep
what they are given; every other name is refused. What was kept becomes arrays and dicts only when the program has
ended, by code that looks at each piece.

    {"params": FrozenDict({"kernel": array})}  →  {"params": {"kernel": array}}
    os.system("…")                             →  ValueError, and nothing ran
"""

import io
import math
import pickle
from typing import Any

import numpy as np

_NUMBERS = "biuf"  # kinds of dtype: bool, signed, unsigned, float


class _Kept:
    """A stand-in: keeps the arguments of its call and the state that it is given later."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Kept):
    """numpy.ndarray: state (version, shape, dtype, whether Fortran's order, bytes)."""

    def value(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        numbers = dtype.value()
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"an array of shape {shape}")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * numbers.itemsize:
            raise ValueError(f"an array {numbers} {shape} whose data have another size")
        return np.frombuffer(data, numbers).reshape(shape, order="F" if fortran else "C").copy()


class _Scalar(_Kept):
    """A NumPy scalar: arguments (dtype, bytes)."""

    def value(self) -> np.ndarray:
        dtype, data = self.arguments
        return np.frombuffer(data, dtype.value(), count=1).reshape(()).copy()


class _Dtype(_Kept):
    """numpy.dtype: arguments ("f4", …), state (version, "<" or ">" or "|", …)."""

    def value(self) -> np.dtype:
        dtype = np.dtype(self.arguments[0]) if isinstance(self.arguments[0], str) else None
        if dtype is None or dtype.kind not in _NUMBERS or dtype.fields is not None:
            raise ValueError(f"dtype {self.arguments[0]!r}; only numbers are read")
        return dtype if self.state is None or self.state[1] == "|" else dtype.newbyteorder(self.state[1])


class _Mapping(dict):
    """A dict in other clothes."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a dict with a state of its own")


class _Ndarray:
    """The class itself, which `_reconstruct` is told to make; nothing is called."""


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("flax.core.frozen_dict", "FrozenDict"): _Mapping,
    ("collections", "OrderedDict"): _Mapping,
}


class _Refuser(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise ValueError(f"it asks for {module}.{name}, which parameters do not need")
        return _STAND_INS[module, name]


def read_pickle(file: io.BufferedIOBase, name: str) -> dict[str, Any]:
    """The nested dict of arrays that `file` holds; `name` is what an error calls it.

    Raises:
        ValueError: a name that parameters do not need, a damaged pickle, anything but dicts, lists and arrays.
    """
    try:
        tree = _plain(_Refuser(file).load())
    except Exception as error:  # whatever a damaged or hostile program leads the unpickler to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name}: not read ({reason}); take the file from the package that made it.") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{name}: a {type(tree).__name__}, not a dict of parameters; take another file.")
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, _Array | _Scalar):
        return value.value()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a dict whose keys are no strings")
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"a {type(value).__name__}, which is no parameter")
