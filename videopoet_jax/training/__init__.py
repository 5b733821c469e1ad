"""In: a loss function, an optimizer, batches → Out: a trained `TrainState` and its checkpoints.

    state ── create_state(params, optimizer)          state.py
    train_step ── make_train_step(loss_fn, optimizer)   step.py, optimizer.py, schedules.py
    fit(state=…, train_step=…, batches=…)              loop.py, with checkpoint.py, metrics.py, signals.py
    adapters in place of the parameters                 lora.py

Names are imported on first use.
"""

import importlib

_HOME = {
    "Adversary": "step",
    "CheckpointError": "manifest",
    "Checkpoints": "checkpoint",
    "NonFinite": "nonfinite",
    "Stopped": "signals",
    "TrainState": "state",
    "apply_adapters": "lora",
    "create_state": "state",
    "fit": "loop",
    "make_optimizer": "optimizer",
    "make_schedule": "schedules",
    "make_train_step": "step",
    "purpose_key": "state",
    "use_compilation_cache": "compilation",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
