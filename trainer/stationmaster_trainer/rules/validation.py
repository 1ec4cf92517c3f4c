"""`overfitting`: the validation loss rises beyond its own noise while the train loss still falls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..contract import Eval, Train
from ._rule import Known, Rule, Setting, Sight, Watcher
from ._window import Window, median

BETWEEN = 50
"""Train losses before a validation that stand for the level of the train loss there."""
PAIRED = 0.3
"""Standard error of a difference between two validations of the same samples, as a share of one validation's own:
√(2(1 − ρ)) for losses that correlate by 0.95."""
SHORT = 12
"""Validations below which medians of three would hide the best one: then the values count as they are, at the end of
the run."""


@dataclass
class Overfitting(Watcher):
    """Medians of three validations against their best, measured in the validations' own wobble, with patience."""

    series: ClassVar[str] = "eval/loss"
    judges: ClassVar[str] = "eval"
    takes: ClassVar[tuple[str, ...]] = ("train", "eval")
    retracts: ClassVar[bool] = True
    calm: ClassVar[int] = 3
    known: Known
    newest: list[float] = field(default_factory=list)
    """The newest validations, ten at most, oldest first."""
    wobble: Window = field(default_factory=lambda: Window(24))
    """|value - mean of its two neighbours|."""
    between: list[float] = field(default_factory=list)
    """Train losses since the last validation, the newest BETWEEN at most."""
    levels: list[float] = field(default_factory=list)
    """Medians of the train loss between the newest validations, three at most."""
    shake: Window = field(default_factory=lambda: Window(24))
    """|level - mean of its two neighbours| of these medians: how far the train loss strays without a fall."""
    grain: float = 0.0
    """Smallest difference between two neighbouring validations: what the log rounds to, next to nothing in full
    precision."""
    count: int = 0
    best: float | None = None
    """Lowest median of three (the first values count as they are)."""
    best_at: int = 0
    """Number of the validation at which `best` was reached."""
    train_at_best: float | None = None
    lowest: float | None = None
    lowest_step: int = 0
    lowest_at: int = 0
    train_at_lowest: float | None = None
    error: float = 0.0
    """Standard error of the lowest validation over its samples, where known."""
    last_step: int = 0
    trained: bool = False

    def train(self, record: Train) -> Sight | None:
        if math.isfinite(record.loss):
            self.between.append(record.loss)
            self.trained = True
            if len(self.between) > BETWEEN:
                del self.between[0]
        return None

    def evaluation(self, record: Eval) -> Sight | None:
        value = record.loss
        if not math.isfinite(value):
            return None
        self.count, self.last_step = self.count + 1, record.step
        self.newest = [*self.newest[-9:], value]
        if len(self.newest) >= 3:
            before, middle, after = self.newest[-3:]
            self.wobble.add(abs(middle - 0.5 * (before + after)))
        self.measure_grain()
        if self.between:
            self.levels = [*self.levels[-2:], median(self.between)]
            self.between = []
            if len(self.levels) == 3:
                self.shake.add(abs(self.levels[1] - 0.5 * (self.levels[0] + self.levels[2])))
        train = median(self.levels) if self.levels else None
        if self.lowest is None or value < self.lowest:
            self.lowest, self.lowest_step, self.lowest_at, self.train_at_lowest = value, record.step, self.count, train
            self.error = record.loss_sem or 0.0
        level = median(self.newest[-3:])
        if self.best is None or level < self.best:
            self.best, self.best_at, self.train_at_best = level, self.count, train
            return None
        return self.judge(level, train)

    def measure_grain(self) -> None:
        step = abs(self.newest[-1] - self.newest[-2]) if len(self.newest) > 1 else 0.0
        if step > 0.0:
            self.grain = min(self.grain, step) if self.grain else step

    def judge(self, level: float, train: float | None) -> Sight | None:
        settings, best = self.known.settings, self.best
        patience = max(settings["patience"], settings["patience_share"] * self.count)
        if best is None or train is None or self.train_at_best is None or self.count - self.best_at < patience:
            return None
        noise = self.noise()
        least = best + max(settings["rise"] * abs(best), settings["noise"] * noise)
        if (
            min(self.newest[-int(settings["patience"]) :]) <= best + noise
            or level <= least
            or self.train_at_best - train <= self.stray()
        ):
            return None
        return self.sight(level, noise, self.train_at_best, train)

    def finish(self) -> Sight | None:
        """A short run's last word: the newest validations all lie above the lowest, the last one far above and still
        rising."""
        since = self.count - self.lowest_at
        if self.lowest is None or self.train_at_lowest is None or not since >= 3 or self.count >= SHORT:
            return None
        tail, noise, train = self.newest[-since:], self.noise(), self.levels[-1]
        far = self.lowest + max(0.05 * abs(self.lowest), self.known.settings["noise"] * noise)
        if tail[-1] < max(tail) or tail[-1] <= far or min(tail) <= self.lowest + noise or train >= self.train_at_lowest:
            return None
        return self.sight(tail[-1], noise, self.train_at_lowest, train)

    def sight(self, level: float, noise: float, train_then: float, train: float) -> Sight:
        lowest = self.lowest or 0.0
        message = (
            f"validation loss {level:.4g} is {_percent(level, lowest)} above its best of {lowest:.4g} at step "
            f"{self.lowest_step}, {self.count - self.lowest_at} validations ago (its noise: {noise:.2g}), "
            "while the train "
            f"loss fell from {train_then:.4g} to {train:.4g}"
        )
        seen = {"best": lowest, "best_step": float(self.lowest_step), "now": level, "noise": noise, "train": train}
        rise = abs(level - lowest) / max(abs(lowest), 1e-12)
        return Sight(self.lowest_step, self.last_step, rise, "warning", message, seen)

    def stray(self) -> float:
        """By how much a median of three train levels differs from another where nothing falls: one standard
        deviation."""
        return 0.8 * self.shake.median() / 0.826 if len(self.shake) else 0.0

    def noise(self) -> float:
        """Standard deviation of one validation: median |second difference| / 0.826 (normal noise about a smooth
        course), at least what the log rounds away, and at least a share of the standard error over samples, of which
        little is left between validations of the same samples.
        """
        wobble = self.wobble.median() / 0.826 if len(self.wobble) else 0.0
        return max(wobble, 0.5 * self.grain, PAIRED * self.error)

    def missing(self) -> str:
        if not self.count:
            return "no validation"
        if not self.trained:
            return "no train loss beside the validation loss"
        needed = int(self.known.settings["patience"]) + 1
        return "" if self.count >= needed else f"too few validations ({self.count}, needs {needed})"


def _percent(level: float, best: float) -> str:
    return f"{100.0 * (level - best) / abs(best):.3g} %" if best else f"{level - best:.3g}"


RULES = (
    Rule(
        name="overfitting",
        severity="warning",
        meaning="The model now learns the training samples rather than what they have in common with new ones.",
        advice=(
            "Consider early stopping at the step of the best validation loss, more data, or regularization "
            "(weight decay, dropout, augmentation)."
        ),
        watch=lambda known: [Overfitting(known)],
        settings={
            "rise": Setting(0.01, "relative rise of the smoothed validation loss over its best that is worth a word"),
            "noise": Setting(3.0, "standard deviations of one validation that the rise must exceed"),
            "patience": Setting(3, "validations in a row that must lie above the best"),
            "patience_share": Setting(0.1, "the same as a share of all validations so far"),
        },
    ),
)
