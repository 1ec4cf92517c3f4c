"""Facts that no curve shows, at a few steps: update-to-weight ratio and gradient norm by layer group, dead parameters.

Ratios of updates to weights: about 1e-3 is usual for a healthy run (Karpathy, "makemore", part 3); the facts are only
told here, the rules judge them. Framework-neutral: an adapter measures the norms of each parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_GROUPS = 16
MAX_NAMES = 10


@dataclass(frozen=True)
class Moved:
    """One trainable parameter at one optimizer step."""

    name: str
    weight: float
    """L2 norm before the update."""
    update: float
    """L2 norm of the difference that the update made."""
    gradient: float
    """L2 norm before clipping; 0 where no gradient came."""
    unchanged: bool
    """Whether the loss left it as it was."""


def facts(moved: Sequence[Moved], without_gradient: Iterable[str], separator: str = ".") -> dict[str, Any]:
    """`update_ratio` and `grad_norm` by layer group, `unchanged` names (at most ten) and their share."""
    names = groups([one.name for one in moved], separator)
    updates: dict[str, float] = {}
    weights: dict[str, float] = {}
    gradients: dict[str, float] = {}
    for one in moved:
        group = names[one.name]
        updates[group] = math.hypot(updates.get(group, 0.0), one.update)
        weights[group] = math.hypot(weights.get(group, 0.0), one.weight)
        gradients[group] = math.hypot(gradients.get(group, 0.0), one.gradient)
    unchanged = [one.name for one in moved if one.unchanged]
    return {
        "update_ratio": {group: updates[group] / norm if norm > 0 else None for group, norm in weights.items()},
        "grad_norm": gradients,
        "unchanged": unchanged[:MAX_NAMES],
        "unchanged_share": len(unchanged) / max(1, len(moved)),
        "without_gradient": list(without_gradient)[:MAX_NAMES],
    }


def groups(names: Sequence[str], separator: str = ".") -> dict[str, str]:
    """Parameter name → layer group: the longest module prefix (up to three parts) that makes at most 16 groups."""
    found: dict[str, str] = {}
    for depth in (3, 2, 1):
        found = {name: separator.join(name.split(separator)[:-1][:depth]) or name for name in names}
        if len(set(found.values())) <= MAX_GROUPS:
            return found
    kept = list(dict.fromkeys(found.values()))[: MAX_GROUPS - 1]
    return {name: group if group in kept else "others" for name, group in found.items()}
