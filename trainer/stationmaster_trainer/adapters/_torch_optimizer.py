"""The optimizer that the configuration names, its step without what a plain loop does not need, and the loss scale."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..contract import TrainingConfig

FIRST_SCALE, GROWTH_STEPS = 65536.0, 2000
"""Dynamic loss scale for fp16 as in torch.amp.GradScaler: halved by an overflow, doubled after so many good steps."""


def make_optimizer(config: TrainingConfig, parameters: list[Any]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or SGD with momentum; fused kernels where torch has them.

    parameters: all that learn, or groups of them as torch's optimizers take them.
    """
    _leave_the_compiler_out()
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "AdamW":
        kind, common = torch.optim.AdamW, {**common, "betas": config.betas}
    else:
        kind, common = torch.optim.SGD, {**common, "momentum": config.betas[0]}
    try:
        return kind(parameters, **common, fused=True)
    except RuntimeError:  # complex parameters, or a device without these kernels
        return kind(parameters, **common)


def _leave_the_compiler_out() -> None:
    """torch imports its whole compiler (2 s) to keep it away from four methods of every optimizer.

    They look for the attribute set here before they do. Nothing is changed where the user's code compiles.
    """
    if "torch._dynamo" in sys.modules:
        return
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            plain.__dynamo_disable = plain


def plain_step(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The optimizer's step without what torch wraps around it for its compiler, its profiler and hooks."""
    step = inspect.unwrap(type(optimizer).step)

    def apply() -> None:
        with torch.no_grad():
            step(optimizer)

    return apply


class LossScale:
    """What the loss is multiplied by so that fp16 gradients do not vanish; lives on the device, never waits for it."""

    def __init__(self, start: float, device: torch.device) -> None:
        self.value = torch.full((), start, device=device)
        self._good_steps = torch.zeros((), device=device)

    def update(self, bad: Tensor) -> None:
        """After a step: `bad` is true where the gradients overflowed."""
        self._good_steps.copy_(torch.where(bad, 0.0, self._good_steps + 1.0))
        grown = self._good_steps >= GROWTH_STEPS
        self.value.mul_(torch.where(bad, 0.5, torch.where(grown, 2.0, 1.0)))
        self._good_steps.copy_(torch.where(grown, 0.0, self._good_steps))

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: a copy on the host."""
        return {"value": self.value.cpu().clone(), "good_steps": self._good_steps.cpu().clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        """From a checkpoint."""
        self.value.copy_(state["value"])
        self._good_steps.copy_(state["good_steps"])
