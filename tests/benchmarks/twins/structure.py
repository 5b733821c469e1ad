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


def transformers_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers' config.json of a DPT of those fields says."""
    config: dict[str, Any] = {
        "model_type": "dpt",
        "architectures": ["DPTForDepthEstimation"],
        "hidden_size": fields["width"],
        "num_hidden_layers": fields["depth"],
        "num_attention_heads": fields["heads"],
        "intermediate_size": fields["mlp_width"],
        "image_size": fields["side"] * fields["patch"],
        "backbone_out_indices": [0, 0, *fields["taps"]] if fields["resnet_stem"] else list(fields["taps"]),
        "neck_hidden_sizes": list(fields["neck_widths"]),
        "fusion_hidden_size": fields["fusion_width"],
        "use_bias_in_fusion_residual": None,
    }
    if fields["resnet_stem"]:
        config |= {"is_hybrid": True, "reassemble_factors": [1, 1, 1, 0.5], "backbone_config": {
            "embedding_size": fields["resnet_stem"], "hidden_sizes": [*fields["resnet_widths"], 2048],
            "depths": fields["resnet_depths"],
            "num_groups": fields["resnet_groups"], "layer_type": "bottleneck", "global_padding": "SAME",
        }}  # fmt: skip
    return config


def _turned(name: str, x: np.ndarray, patch: int) -> np.ndarray:
    if name == "patches.kernel":
        x = x.reshape(patch, patch, -1, x.shape[-1])
    elif name.startswith(("reassemble", "fusion", "head3")) and name.endswith(("project.kernel", "head3.kernel")):
        x = x[None, None]  # a convolution of 1×1
    if name.endswith(".spread"):
        return x.transpose(0, 3, 1, 2)
    return np.moveaxis(x, (-1, -2), (0, 1)) if name.endswith(".kernel") else x
