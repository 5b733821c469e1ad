"""`config.json` and safetensors: what `from_pretrained` reads and `save_pretrained` writes.

A nested tree `{"encoder": {"conv": {"kernel": …}}}` is stored flat, keys joined by dots: `encoder.conv.kernel`, and
what a scan stacks under `layers` layer by layer (`tensors`). `saving` writes it, in shards where it is large.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.pretrained.tensors import Tensor, as_dtype, open_file, stacked

FORMAT_VERSION = 1
WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
TABLES = {"codebook", "codebooks"}  # names of a quantizer's parameters
_HERE = Path(__file__).parent


def shipped() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(p.parent.name for p in _HERE.glob(f"*/{CONFIG}"))


def resolve(name_or_dir: str | os.PathLike, part: str = "", marks: tuple[str, ...] = (CONFIG,)) -> Path:
    """The directory of a shipped name (`nano`) or of a path; `part` is the folder of one component of a pipeline.

    A directory that is itself the component (it has no folder `part`) is taken as it is. A directory is a model's when
    it holds one of the files `marks`.

    Raises:
        FileNotFoundError: neither a shipped name nor a directory with a `config.json` (or another of `marks`).
        ValueError: neither a text nor a path.
    """
    if not isinstance(name_or_dir, str | os.PathLike):
        raise ValueError(
            f"{name_or_dir!r}: neither a name nor a path; give a shipped model ({', '.join(shipped()) or 'none'}) or "
            f"the directory that save_pretrained wrote."
        )
    name = os.fspath(name_or_dir)
    root = _HERE / name if name in shipped() else Path(name)
    for candidate in (root / part, root):
        if any((candidate / mark).is_file() for mark in marks):
            return candidate
    raise FileNotFoundError(
        f"{name!r}: neither a shipped model ({', '.join(shipped()) or 'none'}) nor a directory with a "
        f"{' or a '.join(marks)}; "
        f"give one of those names or the directory that save_pretrained wrote."
    )


def read_config(
    directory: str | os.PathLike, model_type: str, known_keys: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """The model's fields from `config.json`, with `model_type` and `version` checked and taken off.

    Args:
        optional: those of the known keys that a file may lack.

    Raises:
        ValueError: not JSON, another model type, a newer version, an unknown key or a missing one.
    """
    path, known = Path(directory) / CONFIG, set(known_keys)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error}); restore the file that save_pretrained wrote.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: a JSON object is needed, this is a {type(config).__name__}.")
    found, version = config.pop("model_type", None), config.pop("version", None)
    if found != model_type:
        raise ValueError(
            f"{path}: model_type is {found!r}, {model_type!r} is needed; point to a {model_type} directory."
        )
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: version is {version!r}, this library reads {FORMAT_VERSION}; install a matching one."
        )
    unknown, missing = sorted(set(config) - known), sorted(known - set(optional) - set(config))
    if unknown or missing:
        raise ValueError(f"{path}: unknown keys {unknown}, missing keys {missing}; the keys are {sorted(known)}.")
    return config


def write_config(directory: str | os.PathLike, model_type: str, config: Mapping[str, Any]) -> None:
    """Writes `config.json`; tuples become lists. The file appears whole or not at all."""
    body = {"model_type": model_type, "version": FORMAT_VERSION, **config}
    data = json.dumps(body, indent=2, ensure_ascii=False).encode()
    write_atomically(Path(directory) / CONFIG, lambda temporary: temporary.write_bytes(data + b"\n"))


def write_atomically(path: Path, write: Any) -> None:
    """Calls `write(temporary path beside it)`, then `put_in_place`; nothing is left behind when `write` raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Renames a file that is written when its bytes are on the disk: whatever fails, no name stands for half of it."""
    _to_disk(temporary)
    temporary.replace(path)
    with contextlib.suppress(OSError):  # file systems that know no such thing of a folder
        _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": x}} → {"a.b": x}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if "." in key:
            raise ValueError(f"{key!r}: a name of a parameter holds no dot, dots join the levels of the tree.")
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value})
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": x} → {"a": {"b": x}}`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = value
    return tree


def is_table(names: Iterable[str]) -> bool:
    """Whether a parameter of that path is a quantizer's table of codes: rounded, it would name other codes.

    `codes codebook → True`, `encoder conv_in kernel → False`
    """
    return not TABLES.isdisjoint(names)


class Stored(NamedTuple):
    """The tensors of a checkpoint, by the names of its files. `read` reads one when it is asked for; none is kept."""

    source: Path  # what an error calls the checkpoint
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def open_params(directory: str | os.PathLike, dtype: str | None = "float32") -> Stored:
    """Names and shapes as the files have them; nothing else is read yet. See `_tensors`, for what it raises too."""
    tensors = _tensors(directory, dtype)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Stored(Path(directory), shapes, lambda name: np.asarray(tensors[name]))


def open_tree(directory: str | os.PathLike, dtype: str | None = "float32") -> dict[str, Any]:
    """The nested tree of one of our models, layers stacked, all of it still in the files; raises as `_tensors`."""
    return unflatten(stacked(_tensors(directory, dtype), directory))


def load_params(directory: str | os.PathLike, dtype: str | None = "float32") -> dict[str, Any]:
    """`open_tree`, read: NumPy arrays."""
    return unflatten({name: np.asarray(tensor) for name, tensor in flatten(open_tree(directory, dtype)).items()})


def _tensors(directory: str | os.PathLike, dtype: str | None) -> dict[str, Tensor]:
    """Those of one safetensors file, or of the shards that the index names, floats as `dtype`.

    Raises:
        FileNotFoundError: no weights in the directory.
        ValueError: a header that is no safetensors header, or an index that does not describe the shards.
    """
    index = Path(directory) / INDEX
    files = {path.name: open_file(path, as_dtype(dtype)) for path in weight_files(Path(directory))}
    if not index.is_file():
        return files[WEIGHTS]
    shards = _weight_map(index)
    if lost := [name for name, shard in shards.items() if name not in files[shard]]:
        raise ValueError(f"{index}: {lost[0]!r} is not in shard {shards[lost[0]]!r}; copy the directory again.")
    return {name: files[shard][name] for name, shard in shards.items()}


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, in a fixed order."""
    index = directory / INDEX
    if index.is_file():
        names = sorted(set(_weight_map(index).values()))
        odd = [n for n in names if Path(n).name != n or not (directory / n).is_file()]
        if odd:
            raise ValueError(f"{index}: shard {odd[0]!r} is not in the directory; copy the directory again.")
        return [directory / n for n in names]
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such directory; give one that save_pretrained wrote.")
    raise FileNotFoundError(f"{directory}: no {WEIGHTS} and no {INDEX}; give a directory that save_pretrained wrote.")


def _weight_map(index: Path) -> dict[str, str]:
    """Which shard holds which array."""
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not all(isinstance(shard, str) for shard in shards.values()):
            raise TypeError("a shard that is no name")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: names no shards ({error!r}); copy the directory again.") from error
    return shards


def digest(directory: str | os.PathLike) -> str:
    """SHA-256 over the config and the weights of one model directory, as `sha256:…`; what a language model names.

    Weights that are published without a config have one, too.
    """
    total, config = hashlib.sha256(), Path(directory) / CONFIG
    for path in [*([config] if config.is_file() else []), *weight_files(Path(directory))]:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{total.hexdigest()}"


def check_digests(root: str | os.PathLike, wanted: Mapping[str, str], whose: str) -> None:
    """Raises unless the models in folders of `root` have the digests in `wanted`, {folder: digest}.

    `whose` says in the message who wants them: "the language model was trained with".
    """
    for part, expected in wanted.items():
        found = digest(Path(root) / part)
        if found != expected:
            raise ValueError(
                f"{Path(root) / part}: its digest is {found[:19]}…, {whose} {str(expected)[:19]}…; use that {part}, or "
                f"make anew what was made with it."
            )
