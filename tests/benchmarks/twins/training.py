"""A training step of a twin, as PyTorch takes it fastest: compiled, AdamW fused, the sums over parameters at once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Trainer:
    """AdamW, clipping by the global norm and, with a decay, a moving average of the parameters.

    Args:
        loss: batch → loss.
        train: the config's `train`, its learning rate constant.
    """

    def __init__(self, loss: nn.Module, train: Mapping[str, Any], device: str):
        self.train, self.device, self.steps, self.loss = (
            train,
            device,
            0,
            torch.compile(loss.to(device), fullgraph=True),
        )
        self.parameters = list(loss.parameters())
        matrices, others = ([p for p in self.parameters if (p.ndim >= 2) == want] for want in (True, False))
        groups = [{"params": matrices, "weight_decay": train["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
        rate = {"lr": train["learning_rate"], "betas": (train["b1"], train["b2"]), "eps": train["eps"]}
        self.optimizer = torch.optim.AdamW(groups, fused=True, **rate)
        self.average = [p.detach().clone() for p in self.parameters] if train["ema_decay"] else None

    def step(self, batch: Mapping[str, Any]) -> Tensor:
        """One optimizer step on a batch in the host's memory; its loss."""
        loss = self.loss({name: torch.from_numpy(value).to(self.device) for name, value in batch.items()})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.train["clip_norm"], foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            kept = min(self.train["ema_decay"], (1 + self.steps) / (10 + self.steps))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.parameters, 1 - kept)
        self.steps += 1
        return loss.detach()
