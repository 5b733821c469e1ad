"""In: a clip uint8 [t h w 3] → Out: optical flow [t h w 2] in pixels, nearness [t h w] in [0, 1].

    Flow, Depth      estimate.py    from_pretrained, save_pretrained, called with a clip; ESTIMATORS names them
    RAFT             raft.py        the Flax module of the flow; its encoders in raft_encoder.py
    DPT              dpt.py         the Flax module of the depth; DPT-Hybrid's beginning in dpt_resnet.py
    weights.py                      published weights (torchvision, princeton-vl, transformers) into our trees
    configs.py                      config.json into the modules' fields
    resample.py                     bilinear, as PyTorch does it

Names are imported on first use.
"""

import importlib

_HOME = {"DPT": "dpt", "Depth": "estimate", "ESTIMATORS": "estimate", "Flow": "estimate", "RAFT": "raft"}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
