"""Facts that no curve shows, at a few steps: update-to-weight ratio and gradient norm by layer group, dead parameters.

Ratios of updates to weights: about 1e-3 is usual for a healthy run (Karpathy, "makemore", part 3); the facts are only
told here, the rules judge them. Framework-neutral: an adapter measures the norms of each parameter.
"""

from __future__ import annotations

import math
from collections import Counter
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
    """Parameter name → layer group: the longest module prefix (up to four parts) that makes at most 16 groups.

    Where that leaves most parameters in one group (`model.layers` of a deep net), the layers in it are told apart as
    far as 16 groups go: neighbours go together, as `layers.0 to layers.2`.
    """
    found: dict[str, str] = {}
    deeper: dict[str, str] = {}
    for depth in (4, 3, 2, 1):
        deeper, found = found, {name: separator.join(name.split(separator)[:-1][:depth]) or name for name in names}
        if len(set(found.values())) <= MAX_GROUPS:
            break
    else:
        return _bundled(found)
    largest = max(Counter(found.values()).values(), default=0)
    return _bundled(deeper) if deeper and 2 * largest > len(names) else found


def _bundled(found: dict[str, str]) -> dict[str, str]:
    """Neighbouring groups put together until there are at most 16."""
    order = list(dict.fromkeys(found.values()))
    size = -(-len(order) // MAX_GROUPS)
    names: dict[str, str] = {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        names |= dict.fromkeys(part, part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}")
    return {name: names[group] for name, group in found.items()}
