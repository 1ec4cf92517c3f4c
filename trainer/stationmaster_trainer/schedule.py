"""The learning-rate schedule as a pure function of the step: linear warm-up, then cosine, linear or constant
down to a floor."""

from __future__ import annotations

import math


def learning_rate_at(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, shape: str = "cosine", min_ratio: float = 0.0
) -> float:
    """Learning rate of optimizer step `step`, counted from 1 (the first update) to `total_steps` (the last).

    Warm-up: peak · step / warmup_steps. After it the share s of the remaining steps that are done runs from 0 to
    1 and the
    rate is peak · (min_ratio + (1 − min_ratio) · f(s)) with f(s) = (1 + cos πs)/2 (SGDR, Loshchilov & Hutter
    2017, eq. 5,
    one cycle), 1 − s, or 1. As in the usual implementations the very last step still has a positive rate: s counts the
    updates done before this one.
    """
    if warmup_steps > 0 and step <= warmup_steps:
        return peak * step / warmup_steps
    done = min(1.0, max(0.0, (step - 1 - warmup_steps) / max(1, total_steps - warmup_steps)))
    factor = {"cosine": 0.5 * (1.0 + math.cos(math.pi * done)), "linear": 1.0 - done, "constant": 1.0}[shape]
    return peak * (min_ratio + (1.0 - min_ratio) * factor)
