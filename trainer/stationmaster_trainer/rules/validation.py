"""`overfitting`: the validation loss rises beyond its own noise while the train loss still falls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..contract import Eval, Train
from ._rule import Known, Rule, Setting, Sight, Watcher
from ._window import Window, median


@dataclass
class Overfitting(Watcher):
    """Medians of three validations against their best, measured in the validations' own wobble, with patience."""

    series: ClassVar[str] = "eval/loss"
    judges: ClassVar[str] = "eval"
    takes: ClassVar[tuple[str, ...]] = ("train", "eval")
    retracts: ClassVar[bool] = True
    calm: ClassVar[int] = 3
    known: Known
    last: list[float] = field(default_factory=list)
    """The newest validations, three at most."""
    tail: Window = field(default_factory=lambda: Window(64))
    """The newest validations, as many as patience may ask for."""
    wobble: Window = field(default_factory=lambda: Window(64))
    """|value - mean of its two neighbours|."""
    train_recent: Window = field(default_factory=lambda: Window(15))
    count: int = 0
    best: float | None = None
    """Lowest median of three (the first values count as they are)."""
    best_step: int = 0
    best_raw: float | None = None
    best_raw_step: int = 0
    best_at: int = 0
    """Number of the validation at which `best` was reached."""
    train_at_best: float | None = None
    trained: bool = False
    scale: float = 0.0
    """Largest |validation loss| of the first five."""

    def train(self, record: Train) -> Sight | None:
        if math.isfinite(record.loss):
            self.train_recent.add(record.loss)
            self.trained = True
        return None

    def evaluation(self, record: Eval) -> Sight | None:
        value = record.loss
        if not math.isfinite(value):
            return None
        self.count += 1
        self.learn_wobble(value)
        self.tail.add(value)
        if self.best_raw is None or value < self.best_raw:
            self.best_raw, self.best_raw_step = value, record.step
        level = median(self.last)
        if self.best is None or level < self.best:
            self.best, self.best_at, self.best_step = level, self.count, record.step
            self.train_at_best = self.train_recent.median() if len(self.train_recent) else None
            return None
        return self.judge(record, level)

    def learn_wobble(self, value: float) -> None:
        self.last = [*self.last[-2:], value]
        if len(self.last) == 3:
            self.wobble.add(abs(self.last[1] - 0.5 * (self.last[0] + self.last[2])))
        if self.count <= 5:
            self.scale = max(self.scale, abs(value))

    def judge(self, record: Eval, level: float) -> Sight | None:
        best, settings = self.best or 0.0, self.known.settings
        patience = max(settings["patience"], settings["patience_share"] * self.count)
        if self.count - self.best_at < patience or self.train_at_best is None:
            return None
        noise = max(self.noise(), record.loss_sem or 0.0)
        least = best + max(settings["rise"] * abs(best), settings["noise"] * noise)
        newest = list(self.tail.arrived)[-int(settings["patience"]) :]
        train = self.train_recent.median()
        if min(newest) <= best + noise or level <= least or train >= self.train_at_best:
            return None
        message = (
            f"validation loss {level:.4g} (median of three) is {_percent(level, best)} above its best {best:.4g} of step {self.best_raw_step}, "
            f"{self.count - self.best_at} validations ago, while the train loss fell from {self.train_at_best:.4g} to {train:.4g}"
        )
        seen = {"best": best, "best_step": float(self.best_raw_step), "now": level, "noise": noise, "train": train}
        return Sight(
            self.best_raw_step, record.step, abs(level - best) / max(abs(best), 1e-12), "warning", message, seen
        )

    def noise(self) -> float:
        """Standard deviation of one validation about a smooth course: median |second difference| / 0.826 (normal noise)."""
        return self.wobble.median() / 0.826 if len(self.wobble) else 0.0

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
        advice="Consider early stopping at the step of the best validation loss, more data, or regularization (weight decay, dropout, augmentation).",
        watch=lambda known: [Overfitting(known)],
        settings={
            "rise": Setting(0.01, "relative rise of the smoothed validation loss over its best that is worth a word"),
            "noise": Setting(3.0, "standard deviations of one validation that the rise must exceed"),
            "patience": Setting(3, "validations in a row that must lie above the best"),
            "patience_share": Setting(0.1, "the same as a share of all validations so far"),
        },
    ),
)
