"""Three learning rates (a third, once, three times) from the same start, on the same data: which gives the lower loss.

Short runs favour higher rates: what is faster over a few steps may be too much for the whole schedule. Each has the
same short warm-up and is constant then. Not covered: other schedules, and how two settings work together.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..facts import RateCurve, RateFacts, Request
from .smoke import number
from .stage import opened, said

FACTORS = (1 / 3, 1.0, 3.0)
STEPS = 100
"""Of each of the three, at most."""
SECONDS = 400.0
"""For each of them; slower ones are cut short, all at the same step."""
CLEAR = 0.02
"""Share of the loss by which another rate must be better."""


def learning_rate(request: Request, work: Path | None = None) -> RateFacts:
    """Raises RunError when the device is taken, ModelError when a run failed for another reason than its rate."""
    with opened(request, work) as stage:
        steps = min(STEPS, stage.config.total_steps)
        warmup = min(stage.config.warmup_steps, steps // 10)
        never = steps + 1
        spec = stage.spec(
            "rates", log_every=1, validate_every=never, checkpoint_every=never, warmup_steps=warmup,
            lr_schedule="constant",
        )  # fmt: skip
        said("three learning rates")
        rates = [rounded(stage.config.learning_rate * factor) for factor in FACTORS]
        part = stage.play(spec, "rates", rates=rates, save_at=steps, last=steps, seconds=SECONDS)
        if part.failure is not None:
            raise ModelError(f"{part.failure.message} ({part.failure.where or part.phase})", part.failure.way_out)
        curves = tuple(_curve(one) for one in part.seen["curves"])
        return RateFacts(
            device=str(part.seen.get("device", "")),
            steps=max(len(one.losses) for one in curves),
            warmup_steps=warmup,
            curves=curves,
            best=better(curves),
            beside=stage.beside,
        )


def rounded(rate: float) -> float:
    """To two significant digits: 0.00033333 → 0.00033."""
    return float(f"{rate:.2g}")


def _curve(seen: dict[str, Any]) -> RateCurve:
    losses = tuple(number(loss) for loss in seen["losses"])
    tail = losses[-max(1, len(losses) // 5) :]
    diverged = "failure" in seen or not all(map(math.isfinite, tail)) or statistics.fmean(tail) > 2 * abs(losses[0]) + 1
    return RateCurve(
        learning_rate=float(seen["learning_rate"]),
        losses=losses,
        final_loss=math.nan if diverged else statistics.fmean(tail),
        eval_loss=None if seen.get("eval_loss") is None else number(seen["eval_loss"]),
        eval_sem=None if seen.get("eval_sem") is None else number(seen["eval_sem"]),
        diverged=diverged,
    )


def better(curves: tuple[RateCurve, ...]) -> float | None:
    """The rate whose loss (validation where there is one) is clearly below that of the middle one; None: none is."""
    middle = curves[1]
    sound = [one for one in curves if not one.diverged and math.isfinite(_loss(one))]
    if not sound:
        return None
    best = min(sound, key=_loss)
    if middle not in sound:
        return best.learning_rate
    if best is middle:
        return None
    noise = 2.0 * math.hypot(best.eval_sem or 0.0, middle.eval_sem or 0.0)
    apart = _loss(middle) - _loss(best)
    return best.learning_rate if apart > max(noise, CLEAR * abs(_loss(middle))) else None


def _loss(curve: RateCurve) -> float:
    return curve.final_loss if curve.eval_loss is None else curve.eval_loss
