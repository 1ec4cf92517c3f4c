"""Measures what one optimizer step does to each parameter, for the facts of `layers.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .. import layers

SAMPLE = 1 << 18
"""Elements of a parameter that are compared; larger ones are sampled evenly."""


class Probe:
    """Made between backward and update; `facts` after the update."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], gradient_scale: float = 1.0) -> None:
        """`gradient_scale`: what the gradients are multiplied by (the fp16 loss scale)."""
        self._named = named
        self._before = [_sample(parameter).clone() for _, parameter in named]
        self._norms = [
            float(parameter.grad.detach().float().norm()) / gradient_scale if parameter.grad is not None else 0.0
            for _, parameter in named
        ]
        self._without = [name for name, parameter in named if parameter.grad is None]
        self._dead = _dead(dict(named))

    def facts(self) -> dict[str, Any]:
        """See `layers.facts`; a parameter is unchanged when no sampled element differs."""
        moved = []
        for (name, parameter), before, norm in zip(self._named, self._before, self._norms, strict=True):
            difference = float((_sample(parameter) - before).float().norm())
            moved.append(layers.Moved(name, float(before.float().norm()), difference, norm, difference == 0.0))
        return layers.facts(moved, self._without) | {"dead_units": self._dead}


def _dead(named: dict[str, nn.Parameter]) -> dict[str, float]:
    """Layer → share of its units whose weights and bias get exactly no gradient from a batch; 16 layers at most.

    Only layers with a bias of one number per unit are looked at: in a table of embeddings most rows get none, rightly.
    """
    found: dict[str, float] = {}
    for name, parameter in named.items():
        bias = named.get(name[: -len("weight")] + "bias") if name.endswith("weight") and parameter.ndim > 1 else None
        if bias is None or bias.shape != parameter.shape[:1] or bias.grad is None or parameter.grad is None:
            continue
        silent = (bias.grad == 0) & (parameter.grad == 0).flatten(1).all(1)
        share = float(silent.float().mean())
        if share > 0.0 and len(found) < layers.MAX_GROUPS:
            found[name.rpartition(".")[0] or name] = share
    return found


def _sample(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)] if flat.numel() > SAMPLE else flat
