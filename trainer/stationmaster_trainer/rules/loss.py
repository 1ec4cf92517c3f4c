"""`loss_spike` and `unstable`: the loss jumps against its running median, once or again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..contract import Alert, Eval, Train
from ._excursion import GRACE, Excursions
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher

SMALL_SHARE, SMALL = 0.05, 0.1
"""Below this share of the starting loss, and below so many nats, a jump is only told as info: nearly fitted losses
leap from sample to sample."""
ONE_SAMPLE = 20.0
"""Nats that a single sample can cost a confident classifier (a wrong label at odds of e^20). A jump that one such
sample in a small batch explains says nothing about the optimizer."""


@dataclass
class TrainSpike(Watcher):
    """The largest loss of a log window against the running median of such: a single step is seen at any cadence."""

    known: Known
    history: Excursions = field(default_factory=Excursions)
    excess: float = 0.0
    """Loss above the running median, summed over the samples of the excursion that is going on (nats)."""

    def train(self, record: Train) -> Sight | None:
        value = record.loss_max
        if not math.isfinite(value):
            return None
        history, settings = self.history, self.known.settings
        residual = history.residual(value)
        sight = None
        if residual <= 0.0:
            self.excess = 0.0
        elif history.jumped(value, residual, settings["ratio"], settings["tails"]):
            self.excess += excess(record, history.level.median())
            first = record.loss_max_step if record.loss_max_step is not None else record.step
            sight = spike(history, "train loss", value, residual, first, record.step, record.worst_samples)
            if self.known.plan.classes and 0.0 < self.excess <= ONE_SAMPLE:
                why = f"; one hard sample among {per_step(record)} explains it"
                sight = replace(sight, severity="info", message=sight.message + why)
        history.add(value, residual, settings["tails"])
        return sight

    def missing(self) -> str:
        return "" if self.history.count > GRACE else f"too few points of the train loss ({self.history.count})"


@dataclass
class EvalSpike(Watcher):
    """The same for the validation loss."""

    series: ClassVar[str] = "eval/loss"
    judges: ClassVar[str] = "eval"
    takes: ClassVar[tuple[str, ...]] = ("eval",)
    calm: ClassVar[int] = 5
    known: Known
    history: Excursions = field(default_factory=Excursions)

    def evaluation(self, record: Eval) -> Sight | None:
        value = record.loss
        if not math.isfinite(value):
            return None
        history, settings = self.history, self.known.settings
        residual = history.residual(value)
        sight = None
        if residual > 0.0 and history.jumped(value, residual, settings["validation_ratio"], settings["tails"]):
            sight = spike(history, "validation loss", value, residual, record.step, record.step, ())
        history.add(value, residual, settings["tails"])
        return sight

    def missing(self) -> str:
        return "" if self.history.count else "no validation"


@dataclass
class Unstable(Watcher):
    """Spikes come again and again. Each is an episode of `loss_spike`; this one says that they are a pattern."""

    judges: ClassVar[str] = "train"
    takes: ClassVar[tuple[str, ...]] = ("train", "alert")
    calm: ClassVar[int] = 100
    known: Known
    count: int = 0
    jumps: list[int] = field(default_factory=list)
    """Points (their number) at which the newest spikes of the train loss began, twenty at most."""
    steps: list[int] = field(default_factory=list)
    told: int = 0
    """Spikes at the last sight."""

    def train(self, record: Train) -> Sight | None:
        self.count += 1
        return None

    def alerted(self, alert: Alert, series: str) -> Sight | None:
        if alert.rule != "loss_spike" or series != "train/loss" or alert.severity == "info":
            return None
        self.jumps, self.steps = [*self.jumps[-19:], self.count], [*self.steps[-19:], alert.first_step]
        window = int(self.known.settings["window"])
        recent = [step for at, step in zip(self.jumps, self.steps, strict=True) if at > self.count - window]
        if len(recent) < self.known.settings["spikes"]:
            return None
        message = f"{len(recent)} separate loss spikes within {window} records, steps {recent[0]} to {recent[-1]}"
        return Sight(recent[0], recent[-1], float(len(recent)), "warning", message, {"spikes": float(len(recent))})

    def missing(self) -> str:
        return "" if self.count > GRACE else f"too few points of the train loss ({self.count})"


def per_step(record: Train) -> int:
    """Samples of one optimizer step; 0 where the log does not say."""
    return record.window_samples // max(record.steps, 1)


def excess(record: Train, base: float) -> float:
    """Loss above `base`, summed over samples: of the worst step, or of the whole window where that is more."""
    worst = (record.loss_max - base) * per_step(record)
    return max(worst, (record.loss - base) * record.window_samples)


def spike(
    history: Excursions, name: str, value: float, residual: float, first: int, last: int, samples: tuple[int, ...]
) -> Sight:
    """The sight of a jump of `name` from its running median to `value`."""
    base = history.level.median()
    ratio = value / base if base > 0.0 else math.exp(min(residual, 700.0))
    above_start = bool(history.start) and value > max(history.start)
    severity: Severity = "info" if value < SMALL and history.small(value, SMALL_SHARE) else "warning"
    if ratio >= 10.0 and above_start:
        severity = "critical"
    message = (
        f"{name} {value:.4g} at step {first}: {ratio:.3g} times the running median {base:.4g} of the "
        f"last {len(history.level)} points"
    )
    seen = {
        "value": value,
        "median": base,
        "ratio": ratio,
        "spread": history.spread(),
    }
    return Sight(first, last, math.exp(min(residual, 700.0)), severity, message, seen, samples)


SPIKE_SETTINGS = {
    "ratio": Setting(
        2.0, "times the moving average; the checklist's number, taken against the running median of 20 points"
    ),
    "validation_ratio": Setting(4.0, "the same for the validation loss, which doubles now and then in sound runs"),
    "tails": Setting(1.7, "times the record of earlier strays, in median absolute deviations, that a jump must exceed"),
}

RULES = (
    Rule(
        name="loss_spike",
        severity="warning",
        meaning="A bad batch, a learning rate at the edge of stability, or a restart without the optimizer's state.",
        advice=(
            "Wait for the next records: most spikes recover. If it does not, or comes back: look at the "
            "batch of that step, lower "
            "the learning rate, lengthen the warm-up or clip the gradients harder."
        ),
        watch=lambda known: [TrainSpike(known), EvalSpike(known)],
        settings=SPIKE_SETTINGS,
    ),
    Rule(
        name="unstable",
        severity="warning",
        meaning=(
            "Training sits at the edge of stability: each recovery costs steps, and one of the next spikes "
            "may not recover."
        ),
        advice=(
            "Review gradient norms, consider lower LR or more warmup; in AdamW a β2 of 0.95 shortens the "
            "memory that spikes feed on."
        ),
        watch=lambda known: [Unstable(known)],
        settings={
            "spikes": Setting(4, "separate spikes that make a pattern"),
            "window": Setting(500, "records within which they are counted"),
        },
    ),
)
