"""Rows to train records: one record per row, or per window of rows in a very long log, with its mean and extremes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..contract import Train


@dataclass
class Window:
    """Rows that wait to be folded: every `every` of them make one record."""

    every: int = 1
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Gradient norms of these rows; not every row need have one."""
    rates: list[float] = field(default_factory=list)
    """Learning rate of each row, the last known one repeated; NaN before the first."""

    def add(self, step: int, loss: float, rate: float) -> Iterator[Train]:
        """One row; a record when the window is full."""
        self.steps.append(step)
        self.losses.append(loss)
        self.rates.append(rate)
        if len(self.losses) >= self.every:
            yield from self.flush()

    def extend(
        self, steps: Sequence[int], losses: Sequence[float], rates: Sequence[float], norms: Sequence[float] | None
    ) -> Iterator[Train]:
        """Many rows in one stroke; a record for each full window. `norms` is None or has one for every row."""
        start = self.every - len(self.losses)
        self.steps += steps[:start]
        self.losses += losses[:start]
        self.rates += rates[:start]
        self.norms += norms[:start] if norms is not None else ()
        if len(self.losses) >= self.every:
            yield from self.flush()
        for first in range(start, len(losses), self.every):
            last = first + self.every
            if last > len(losses):
                self.steps, self.losses, self.rates = [*steps[first:]], [*losses[first:]], [*rates[first:]]
                self.norms += norms[first:] if norms is not None else ()
                return
            part = norms[first:last] if norms is not None else ()
            if self.norms:
                part, self.norms = [*self.norms, *part], []
            yield fold(steps[first:last], losses[first:last], part, rates[last - 1])

    def flush(self) -> Iterator[Train]:
        """The record of what waits, if anything does."""
        if self.losses:
            yield fold(self.steps, self.losses, self.norms, self.rates[-1])
            self.steps, self.losses, self.norms, self.rates = [], [], [], []


def fold(steps: Sequence[int], losses: Sequence[float], norms: Sequence[float], rate: float) -> Train:
    """One Train of the rows of a window, with the step of its largest loss and of the first non-finite one."""
    total, place, bad = sum(losses), None, ()  # type: float, int | None, tuple[int, ...]
    if total - total == 0.0:  # all finite
        high = max(losses)
        place, low, mean = losses.index(high), min(losses), total / len(losses)
    else:
        mean, low, high, place, bad = _extremes(steps, losses)
    mean_norm, high_norm = _norms(norms)
    return Train(
        time=0.0,
        elapsed=0.0,
        step=steps[-1],
        epoch=0.0,
        samples=0,
        loss=mean,
        loss_max=high,
        loss_min=low,
        grad_norm=mean_norm,
        grad_norm_max=high_norm,
        learning_rate=rate,
        samples_per_second=0.0,
        steps=len(losses),
        nonfinite=len(bad),
        nonfinite_step=bad[0] if bad else None,
        nonfinite_what="loss" if bad else None,
        loss_max_step=steps[place] if place is not None else None,
    )


def _extremes(steps: Sequence[int], losses: Sequence[float]) -> tuple[float, float, float, int | None, tuple[int, ...]]:
    """(mean, smallest, largest, place of the largest, steps that are not finite) of a window that is not all finite."""
    finite = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
    bad = tuple(step for step, loss in zip(steps, losses, strict=True) if not math.isfinite(loss))
    if not finite:
        return math.nan, math.nan, math.nan, None, bad or (steps[-1],)
    values = [losses[place] for place in finite]
    high = max(finite, key=lambda place: losses[place])
    return math.fsum(value / len(values) for value in values), min(values), losses[high], high, bad


def _norms(norms: Sequence[float]) -> tuple[float | None, float | None]:
    """(mean, largest finite) norm of a window; the mean is NaN when one of them is not finite."""
    if not norms:
        return None, None
    total = sum(norms)
    if total - total == 0.0:
        return total / len(norms), max(norms)
    good = [norm for norm in norms if math.isfinite(norm)]
    whole = len(good) == len(norms)  # finite norms whose sum is not
    return (math.fsum(norm / len(good) for norm in good) if whole else math.nan), max(good, default=None)
