"""Facts that no curve shows, at a few steps: update-to-weight ratio and gradient norm by layer group, dead parameters.

Ratios of updates to weights: about 1e-3 is usual for a healthy run (Karpathy, "makemore", part 3); the facts are only
told here, the rules judge them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

MAX_GROUPS = 16
MAX_NAMES = 10
SAMPLE = 1 << 18
"""Elements of a parameter that are compared; larger ones are sampled evenly."""


class Probe:
    """Made between backward and update; `facts` after the update."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], gradient_scale: float = 1.0) -> None:
        """`gradient_scale`: what the gradients are multiplied by (the fp16 loss scale)."""
        self._named = named
        self._groups = layer_groups([name for name, _ in named])
        self._before = [_sample(parameter).clone() for _, parameter in named]
        self._norms = [
            float(parameter.grad.detach().float().norm()) / gradient_scale if parameter.grad is not None else 0.0
            for _, parameter in named
        ]
        self._without = [name for name, parameter in named if parameter.grad is None]

    def facts(self) -> dict[str, Any]:
        """`update_ratio` and `grad_norm` by layer group, `unchanged` names (at most ten) and their share."""
        moved: dict[str, list[float]] = {}
        unchanged: list[str] = []
        gradients: dict[str, float] = {}
        for (name, parameter), before, norm in zip(self._named, self._before, self._norms, strict=True):
            difference = float((_sample(parameter) - before).float().norm())
            group = self._groups[name]
            sums = moved.setdefault(group, [0.0, 0.0])
            sums[0] += difference**2
            sums[1] += float(before.float().norm()) ** 2
            gradients[group] = math.hypot(gradients.get(group, 0.0), norm)
            if difference == 0.0:
                unchanged.append(name)
        return {
            "update_ratio": {group: math.sqrt(d / w) if w > 0 else None for group, (d, w) in moved.items()},
            "grad_norm": gradients,
            "unchanged": unchanged[:MAX_NAMES],
            "unchanged_share": len(unchanged) / max(1, len(self._named)),
            "without_gradient": self._without[:MAX_NAMES],
        }


def layer_groups(names: Sequence[str]) -> dict[str, str]:
    """Parameter name → layer group: the longest module prefix (up to three parts) that makes at most 16 groups."""
    for depth in (3, 2, 1):
        groups = {name: ".".join(name.split(".")[:-1][:depth]) or name for name in names}
        if len(set(groups.values())) <= MAX_GROUPS:
            return groups
    kept = list(dict.fromkeys(groups.values()))[: MAX_GROUPS - 1]
    return {name: group if group in kept else "others" for name, group in groups.items()}


def _sample(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)] if flat.numel() > SAMPLE else flat
