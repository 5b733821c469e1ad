"""Our parameters of RAFT and DPT as PyTorch's libraries name and lay them out; needs no PyTorch itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from videopoet_jax.pretrained.files import flatten
from videopoet_jax.structure import weights


def foreign(params: Mapping[str, Any], rules: weights.Rules, patch: int = 1) -> dict[str, np.ndarray]:
    """The tensors that `weights.tree` turns into `params`. `patch`: the side of DPT's patches of pixels."""
    return {
        weights.rename(name, rules): np.ascontiguousarray(_turned(name, np.asarray(x), patch))
        for name, x in flatten(params).items()
    }


def _turned(name: str, x: np.ndarray, patch: int) -> np.ndarray:
    if name == "patches.kernel":
        x = x.reshape(patch, patch, -1, x.shape[-1])
    elif name.startswith(("reassemble", "fusion", "head3")) and name.endswith(("project.kernel", "head3.kernel")):
        x = x[None, None]  # a convolution of 1×1
    if name.endswith(".spread"):
        return x.transpose(0, 3, 1, 2)
    return np.moveaxis(x, (-1, -2), (0, 1)) if name.endswith(".kernel") else x
