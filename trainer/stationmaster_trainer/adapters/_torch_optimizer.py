"""The optimizer that the configuration names, and its step without what a plain training loop does not need."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..contract import TrainingConfig


def make_optimizer(config: TrainingConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or SGD with momentum; fused kernels where torch has them."""
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
