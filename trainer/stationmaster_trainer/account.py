"""What the verdict needs to know of a run: one pass over its records, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from .contract import Eval, Record, Train
from .rules._course import Course
from .rules._window import Window


@dataclass
class Account:
    """One pass over the records: `see` each, then ask `verdict`. Memory does not grow with the run."""

    train: Course = field(default_factory=Course)
    validation: Course = field(default_factory=Course)
    start: list[float] = field(default_factory=list)
    """First five finite train losses."""
    recent: Window = field(default_factory=lambda: Window(20))
    wobble: Window = field(default_factory=lambda: Window(64))
    """|validation - mean of its neighbours|."""
    last_evals: list[float] = field(default_factory=list)
    points: int = 0
    evals: int = 0
    last_step: int = 0
    best: tuple[int, float] | None = None
    """(step, value) of the lowest validation loss."""
    best_train: tuple[int, float] | None = None
    contenders: list[tuple[int, float]] = field(default_factory=list)
    """The lowest validations, at most 20, for the noise band."""
    sem: float = 0.0
    """Standard error of the best validation over its samples, where known."""
    nonfinite: int = 0
    broken: bool = False
    """Whether the newest train record was not finite."""

    def see(self, record: Record) -> None:
        """Takes any record; only Train and Eval matter."""
        if isinstance(record, Train):
            self._see_train(record)
        elif isinstance(record, Eval):
            self._see_eval(record)

    def _see_train(self, record: Train) -> None:
        self.points += 1
        self.last_step = max(self.last_step, record.step)
        self.nonfinite += record.nonfinite or int(not math.isfinite(record.loss))
        self.broken = not math.isfinite(record.loss)
        if self.broken:
            return
        if len(self.start) < 5:
            self.start.append(record.loss)
        self.train.add(record.loss)
        self.recent.add(record.loss)
        if self.best_train is None or record.loss < self.best_train[1]:
            self.best_train = (record.step, record.loss)

    def _see_eval(self, record: Eval) -> None:
        self.evals += 1
        self.last_step = max(self.last_step, record.step)
        if not math.isfinite(record.loss):
            return
        self.validation.add(record.loss)
        self.last_evals = [*self.last_evals[-2:], record.loss]
        if len(self.last_evals) == 3:
            self.wobble.add(abs(self.last_evals[1] - 0.5 * (self.last_evals[0] + self.last_evals[2])))
        if self.best is None or record.loss < self.best[1]:
            self.best, self.sem = (record.step, record.loss), record.loss_sem or 0.0
        self.contenders = sorted([*self.contenders, (record.step, record.loss)], key=lambda pair: pair[1])[:20]

    def eval_noise(self) -> float:
        """Standard deviation of one validation: from its wobble about neighbours, at least its standard error."""
        return max(self.wobble.median() / 0.826 if len(self.wobble) else 0.0, self.sem)

    def near_best(self) -> tuple[int, ...]:
        if self.best is None:
            return ()
        limit = self.best[1] + self.eval_noise()
        return tuple(sorted(step for step, value in self.contenders if value <= limit))


def account(records: Iterable[Record]) -> Account:
    """The account of a whole sequence of records."""
    total = Account()
    for record in records:
        total.see(record)
    return total
