"""`grad_norm_spike`: the gradient norm jumps by an order of magnitude against its running median."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..contract import Train
from ._excursion import GRACE, Excursions
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher
from ._window import Window


@dataclass
class GradNormSpike(Watcher):
    """The largest gradient norm of a log window against the running median of such. Huge ones in the first steps are
    normal."""

    series: ClassVar[str] = "train/grad_norm"
    known: Known
    history: Excursions = field(default_factory=lambda: Excursions(Window(50)))

    def train(self, record: Train) -> Sight | None:
        value = record.grad_norm_max if record.grad_norm_max is not None else record.grad_norm
        if value is None or not math.isfinite(value) or value <= 0.0:
            return None
        history = self.history
        residual = history.residual(value)
        settings = self.known.settings
        sight = None
        if residual > 0.0 and history.jumped(value, residual, settings["ratio"], settings["tails"]):
            sight = self.sight(record, value, residual)
        history.add(value, residual, settings["tails"])
        return sight

    def sight(self, record: Train, value: float, residual: float) -> Sight:
        base = self.history.level.median()
        first = record.grad_norm_max_step if record.grad_norm_max_step is not None else record.step
        clip = self.known.plan.gradient_clip
        clipped = f"; it was clipped to {clip:g}" if clip else ""
        severity: Severity = "critical" if value / base >= 1000.0 and not clip else "warning"
        message = (
            f"gradient norm {value:.4g} at step {first}: {value / base:.3g} times its running median "
            f"{base:.4g}{clipped}"
        )
        worst = record.nonfinite_step if record.nonfinite_step is not None else record.loss_max_step
        samples = record.worst_samples if first == worst else record.steepest_samples
        seen = {"value": value, "median": base, "ratio": value / base}
        return Sight(first, record.step, value / base, severity, message, seen, samples)

    def missing(self) -> str:
        count = self.history.count
        return "" if count > GRACE else f"too few gradient norms ({count})" if count else "no gradient norms"


RULES = (
    Rule(
        name="grad_norm_spike",
        severity="warning",
        meaning=(
            "One batch pulls far harder than the others: exploding gradients, a broken sample, or a loss "
            "that is nearly unbounded."
        ),
        advice=(
            "Keep gradient clipping on (1.0 is usual); if it repeats, lower the learning rate or lengthen "
            "the warm-up, and look at "
            "the batch of that step."
        ),
        watch=lambda known: [GradNormSpike(known)],
        settings={
            "ratio": Setting(
                10.0, "times the average; the checklist's number, taken against the running median of 50 points"
            ),
            "tails": Setting(
                1.5, "times the record of earlier strays, in median absolute deviations, that a jump must exceed"
            ),
        },
    ),
)
