"""T5X's checkpoints of T5 v1.1, Flan-T5 and mT5, as Google publishes them, into our tree.

    t5_1_1_xl/checkpoint_1000000/
        checkpoint                                       msgpack {"version": 3, "optimizer": {"target": …, "state": …}}
        target.encoder.layers_0.mlp.wi_0.kernel/.zarray  Zarr 2, gzip or plain, float32 or bfloat16
        target.encoder.layers_0.mlp.wi_0.kernel/0.0      a chunk of it
        spiece.model                                     not T5X's: copy the vocabulary there

A leaf of `target` is an array, or a reference {"driver": "zarr", "kvstore": …, "metadata": …} to such a folder:

    token_embedder/embedding                  [v d]        →  embedding               [v d]
    encoder/relpos_bias/rel_embedding         [m buckets]  →  relative_bias           [buckets m]
    encoder/layers_0/attention/query/kernel   [d m·e]      →  layers.attention.query  [layers d m e]
    encoder/layers_0/attention/out/kernel     [m·e d]      →  layers.attention.out    [layers m e d]
    encoder/layers_0/mlp/wi_0/kernel          [d mlp]      →  layers.mlp.gate         [layers d mlp]

Nothing in the files is run, and of a reference nothing is believed: the folder is the leaf's path with dots, as T5X
always writes it, so none leads out of the directory. The folders of the decoder and of the optimizer are not opened.

Layers stacked by a scan (`encoder/encoder/…`) are published for umT5 and Pile-T5 alone, and T5X's scanned encoder has
a table of relative biases in every layer: both are refused. The tree does not say which function opens the gate: UL2's
(SiLU) looks the same, and is refused only where Hugging Face's config.json lies beside it.

Sources: google-research/t5x: t5x/checkpoints.py (what `Checkpointer.save` writes and `_read_ts` reads),
examples/t5/{network,layers}.py (names, shapes, constants), examples/scalable_t5/network.py (the scan), docs/models.md
(addresses), testdata/test_t5_tiny.checkpoint_0 (a whole tree); huggingface/transformers:
models/t5/convert_t5x_checkpoint_to_pytorch.py and models/umt5/convert_umt5_checkpoint_to_pytorch.py.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videopoet_jax.pretrained import files
from videopoet_jax.text.weights import assemble, config_from_huggingface, is_huggingface, refuse

if TYPE_CHECKING:
    import tensorstore

FILE = "checkpoint"
RELATIVE = "encoder/relpos_bias/rel_embedding"
# Ours, then theirs; a name with {i} stands once for each layer. All matrices but the embedding are [in out].
NAMES = {
    "embedding": "token_embedder/embedding",
    "relative_bias": RELATIVE,
    "final_norm.scale": "encoder/encoder_norm/scale",
    "layers.attention_norm.scale": "encoder/layers_{i}/pre_attention_layer_norm/scale",
    "layers.attention.query": "encoder/layers_{i}/attention/query/kernel",
    "layers.attention.key": "encoder/layers_{i}/attention/key/kernel",
    "layers.attention.value": "encoder/layers_{i}/attention/value/kernel",
    "layers.attention.out": "encoder/layers_{i}/attention/out/kernel",
    "layers.mlp_norm.scale": "encoder/layers_{i}/pre_mlp_layer_norm/scale",
    "layers.mlp.gate": "encoder/layers_{i}/mlp/wi_0/kernel",
    "layers.mlp.up": "encoder/layers_{i}/mlp/wi_1/kernel",
    "layers.mlp.down": "encoder/layers_{i}/mlp/wo/kernel",
}
CONSTANTS = {"max_distance": 128, "epsilon": 1e-6}  # written into T5X's network.py and layers.py
REFERENCE = {"driver", "kvstore", "metadata"}  # keys of a reference to a Zarr folder
FLOATS = ("float32", "bfloat16", "float16")
# Ours: the most that is believed before memory is given to it. The whole of T5 v1.1 Large would be 3 GB in one file;
# the largest array of all, mT5 XXL's embedding, has 2^30 numbers.
MOST_BYTES, MOST_NUMBERS = 4 * 2**30, 2**31
AGAIN = "copy the whole checkpoint again (gsutil -m cp -r)"


def is_t5x(directory: str | os.PathLike) -> bool:
    """Whether the directory holds what T5X writes, and no safetensors."""
    directory = Path(directory)
    return (directory / FILE).is_file() and not any((directory / n).exists() for n in (files.WEIGHTS, files.INDEX))


def load_t5x(directory: str | os.PathLike, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `T5Encoder` (without dtype) and its parameters.

    The sizes are those of the arrays; where Hugging Face's config.json of the model lies beside, they must agree.

    Raises:
        ValueError: a damaged file, a folder or a chunk missing, a tensor that no rule covers, another kind of T5.
    """
    directory, target = Path(directory), files.as_dtype(dtype)
    path = directory / FILE
    tensors = {name: _tensor(path, name, leaf) for name, leaf in read_tree(path).items()}

    def read(name: str) -> np.ndarray:
        tensor = tensors[name]
        if not isinstance(tensor, np.ndarray):
            try:
                tensor = tensor.read().result()
            except (ValueError, OSError, RuntimeError) as error:
                raise ValueError(f"{_folder(path, name)}: {_reason(error)}; {AGAIN}.") from error
        return tensor.astype(target)

    stored = files.Stored(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, read)
    config = {**sizes(path, stored.shapes), **CONSTANTS}
    if is_huggingface(directory):
        named = config_from_huggingface(json.loads((directory / files.CONFIG).read_text(encoding="utf-8")))
        if other := [field for field in config if named[field] != config[field]]:
            raise ValueError(
                f"{directory / files.CONFIG}: {other[0]} is {named[other[0]]}, the arrays of {path} say "
                f"{config[other[0]]}; take the config.json of this model, or none."
            )
    return config, assemble(stored, NAMES, config, turned=True)


def read_tree(path: Path) -> dict[str, Any]:
    """The leaves of `optimizer/target` without the decoder's: `encoder/encoder_norm/scale` → array or reference.

    flax's msgpack makes dicts, numbers and arrays of numbers (views of the file's bytes) and runs nothing.
    """
    from flax.serialization import msgpack_restore
    from flax.traverse_util import flatten_dict

    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes; at most {MOST_BYTES} are read, T5X keeps large arrays beside it.")
    data = path.read_bytes()
    if data.startswith(b"model_checkpoint_path"):
        raise ValueError(
            f"{path}: a TensorFlow checkpoint; take T5X's of the same model, gs://t5-data/pretrained_models/t5x/…"
        )
    try:
        tree = msgpack_restore(data)
    except Exception as error:  # whatever damaged bytes lead the parser to
        raise ValueError(f"{path}: no msgpack of a checkpoint ({_reason(error)}); {AGAIN}.") from error
    target = tree
    for key in ("optimizer", "target"):
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise ValueError(
            f"{path}: no optimizer/target in it; take a checkpoint such as gs://t5-data/pretrained_models/t5x/ has "
            f"(one that T5X wrote through Orbax is laid out otherwise)."
        )
    kept = {str(key): value for key, value in target.items() if key != "decoder"}
    flat = flatten_dict(kept, is_leaf=lambda _, node: node.keys() >= REFERENCE)
    return {"/".join(map(str, keys)): leaf for keys, leaf in flat.items()}


def sizes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes in `T5Encoder`'s fields, from the shapes of the arrays: heads are the rows of the relative biases.

    [32,128 2,048], [32 heads, 32 buckets], query [2,048, 32·64], gate [2,048, 5,120], 24 × layers_{i}: T5 v1.1 XL
    """
    if more := [name for name in shapes if "relpos_bias" in name and name != RELATIVE]:
        raise refuse("umT5", f"{path}: {more[0]}")
    if "encoder/layers_0/mlp/wi/kernel" in shapes:
        raise refuse("T5 v1.0", f"{path}: encoder/layers_0/mlp/wi/kernel")
    found = []
    for ours in ("embedding", "relative_bias", "layers.attention.query", "layers.mlp.gate"):
        name = NAMES[ours].format(i=0)
        if len(shapes.get(name, ())) != 2:
            raise ValueError(f"{path}: {name} is missing or no matrix; take a T5 v1.1, Flan-T5 or mT5 checkpoint.")
        found.append(shapes[name])
    (vocabulary, width), (heads, buckets), (_, joined), (_, mlp_width) = found
    if heads == 0 or joined % heads:
        raise ValueError(f"{path}: queries of {joined} numbers and {heads} heads do not divide; {AGAIN}.")
    return {
        "vocabulary": vocabulary,
        "width": width,
        "depth": len({name.split("/")[1] for name in shapes if name.startswith("encoder/layers_")}),
        "heads": heads,
        "head_width": joined // heads,
        "mlp_width": mlp_width,
        "buckets": buckets,
    }


def _tensor(path: Path, name: str, leaf: Any) -> "np.ndarray | tensorstore.TensorStore":
    """An array as it is, a reference as an opened folder that is not read yet."""
    if isinstance(leaf, dict):
        leaf = _open(_folder(path, name))
    elif not isinstance(leaf, np.ndarray):
        raise ValueError(f"{path}: {name} is a {type(leaf).__name__}, neither an array nor a reference; {AGAIN}.")
    if leaf.dtype.name not in FLOATS:
        raise ValueError(f"{path}: {name} is {leaf.dtype.name}; {', '.join(FLOATS)} are read: save it so with T5X.")
    return leaf


def _open(folder: Path) -> "tensorstore.TensorStore":
    import tensorstore

    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"},
        "fill_missing_data_reads": False,  # otherwise a lost chunk would be read as zeros
    }
    if not (folder / ".zarray").is_file():
        raise ValueError(f"{folder / '.zarray'}: no such file, and {folder.parent / FILE} refers to it; {AGAIN}.")
    try:
        store = tensorstore.open(spec, open=True, read=True).result()
    except ValueError as error:
        raise ValueError(f"{folder / '.zarray'}: {_reason(error)}; {AGAIN}.") from error
    chunk = store.chunk_layout.read_chunk.shape
    # TensorStore ends the process when it cannot get the memory for a chunk; T5X's are never larger than the array.
    if store.size > MOST_NUMBERS or any(part > max(whole, 1) for part, whole in zip(chunk, store.shape, strict=True)):
        raise ValueError(f"{folder / '.zarray'}: shape {store.shape} in chunks of {chunk}, no array of a T5; {AGAIN}.")
    return store


def _folder(path: Path, name: str) -> Path:
    return path.parent / f"target.{name.replace('/', '.')}"


def _reason(error: Exception) -> str:
    """The words of an error on one line, without the whole specification that TensorStore adds."""
    return " ".join(str(error).split()).partition(" [tensorstore_spec")[0] or type(error).__name__
