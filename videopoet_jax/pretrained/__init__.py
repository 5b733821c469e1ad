"""In: a shipped name or a directory → Out: a checked config and a tree of arrays (and back).

The weights that ship lie beside this file, one folder a model. Files are Hugging Face's: `config.json`, and
`model.safetensors` or `model-00001-of-0000N.safetensors` with `model.safetensors.index.json`. Never pickle.
"""

from videopoet_jax.pretrained.files import (
    check_digests,
    digest,
    is_table,
    load_params,
    open_tree,
    read_config,
    resolve,
    shipped,
    write_config,
)
from videopoet_jax.pretrained.saving import SHARD_SIZE, save_params

__all__ = [
    "SHARD_SIZE",
    "check_digests",
    "digest",
    "is_table",
    "load_params",
    "open_tree",
    "read_config",
    "resolve",
    "save_params",
    "shipped",
    "write_config",
]
