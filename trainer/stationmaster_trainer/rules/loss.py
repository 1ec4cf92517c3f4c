"""`loss_spike` and `unstable`: the loss jumps against its running median, once or again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..contract import Eval, Train
from ._excursion import GRACE, Excursions
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher
from ._window import Window

FLOOR_SHARE = 1e-3
"""Below a thousandth of the starting loss a doubling is no news: a fitted loss wanders over orders of magnitude there."""


@dataclass
class TrainSpike(Watcher):
    """The largest loss of a log window against the running median of such largest losses: a single step is seen at any cadence."""

    known: Known
    history: Excursions = field(default_factory=lambda: Excursions(FLOOR_SHARE))

    def train(self, record: Train) -> Sight | None:
        value = record.loss_max
        if not math.isfinite(value):
            return None
        history = self.history
        residual = history.residual(value)
        sight = None
        if residual > 0.5 and is_spike(history, value, residual, self.known.settings):
            first = record.loss_max_step if record.loss_max_step is not None else record.step
            sight = spike(history, "train loss", value, residual, first, record.step, record.worst_samples)
        history.add(value, residual)
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
    history: Excursions = field(default_factory=lambda: Excursions(FLOOR_SHARE))

    def evaluation(self, record: Eval) -> Sight | None:
        if not math.isfinite(record.loss):
            return None
        history = self.history
        residual = history.residual(record.loss)
        sight = None
        if residual > 0.5 and is_spike(history, record.loss, residual, self.known.settings):
            sight = spike(history, "validation loss", record.loss, residual, record.step, record.step, ())
        history.add(record.loss, residual)
        return sight

    def missing(self) -> str:
        return "" if self.history.count else "no validation"


@dataclass
class Unstable(Watcher):
    """Spikes come again and again. Each is an episode of `loss_spike`; this one says that they are a pattern."""

    calm: ClassVar[int] = 100
    known: Known
    history: Excursions = field(default_factory=lambda: Excursions(FLOOR_SHARE))
    jumps: Window = field(default_factory=lambda: Window(8))
    """Points (their number) at which a jump began."""
    last_jump: int = -100
    first_step: int = 0

    def train(self, record: Train) -> Sight | None:
        value = record.loss_max
        if not math.isfinite(value):
            return None
        history = self.history
        residual = history.residual(value)
        jumped = residual > 0.5 and is_spike(history, value, residual, self.known.settings)
        history.add(value, residual)
        if not jumped:
            return None
        if history.count - self.last_jump > GRACE:
            self.jumps.add(float(history.count))
            self.first_step = self.first_step or record.step
        self.last_jump = history.count
        wanted = int(self.known.settings["spikes"])
        recent = sum(1 for at in self.jumps.arrived if at > history.count - self.known.settings["window"])
        if recent < wanted:
            return None
        message = f"{recent} separate loss spikes within the last {int(self.known.settings['window'])} records, newest at step {record.step}"
        return Sight(self.first_step, record.step, float(recent), "warning", message, {"spikes": float(recent)})

    def missing(self) -> str:
        return "" if self.history.count > GRACE else f"too few points of the train loss ({self.history.count})"


def is_spike(history: Excursions, value: float, residual: float, settings: dict[str, float]) -> bool:
    """A jump by `ratio` that also stands out of the noise and of the recent upward tails."""
    if residual <= history.bar(settings["ratio"], settings["deviations"], settings["tails"]):
        return False
    return history.count >= GRACE or history.highest is None or value > history.highest


def spike(
    history: Excursions, name: str, value: float, residual: float, first: int, last: int, samples: tuple[int, ...]
) -> Sight:
    """The sight of a jump of `name` from its running median to `value`."""
    base = history.level.median()
    ratio = value / base if base > 0.0 else math.exp(min(residual, 700.0))
    above_start = bool(history.start) and value > max(history.start)
    severity: Severity = "critical" if ratio >= 10.0 and above_start else "warning"
    message = f"{name} {value:.4g} at step {first}: {ratio:.3g} times the running median {base:.4g} of the last {len(history.level)} points"
    seen = {
        "value": value,
        "median": base,
        "ratio": ratio,
        "noise": history.deviation.median() if history.count > 1 else 0.0,
    }
    return Sight(first, last, math.exp(min(residual, 700.0)), severity, message, seen, samples)


_SETTINGS = {
    "ratio": Setting(
        2.0, "times the moving average; the checklist's number, taken against the running median of 20 points"
    ),
    "deviations": Setting(4.0, "median absolute deviations of the last 100 points that a jump must exceed"),
    "tails": Setting(
        2.0, "times the 95th percentile of the recent upward excursions (log ratio) that a jump must exceed"
    ),
}

RULES = (
    Rule(
        name="loss_spike",
        severity="warning",
        meaning="A bad batch, a learning rate at the edge of stability, or a restart without the optimizer's state.",
        advice=(
            "Wait for the next records: most spikes recover. If it does not, or comes back: look at the batch of that step, lower "
            "the learning rate, lengthen the warm-up or clip the gradients harder."
        ),
        watch=lambda known: [TrainSpike(known), EvalSpike(known)],
        settings=_SETTINGS,
    ),
    Rule(
        name="unstable",
        severity="warning",
        meaning="Training sits at the edge of stability: each recovery costs steps, and one of the next spikes may not recover.",
        advice="Review gradient norms, consider lower LR or more warmup; in AdamW a β2 of 0.95 shortens the memory that spikes feed on.",
        watch=lambda known: [Unstable(known)],
        settings={
            **_SETTINGS,
            "spikes": Setting(4, "separate spikes that make a pattern"),
            "window": Setting(500, "records within which they are counted"),
        },
    ),
)
