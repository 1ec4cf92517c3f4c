"""Tells a jump from noise: against the running median, the residuals' own spread, and how far they strayed before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ._window import Window, log_ratio, median

GRACE = 10
"""Points before the spread is trusted; until then only a jump to eight times (or `ratio` squared) over all so far
counts."""
FEW, LONE = 3, 1000.0
"""Points below which there is no level to speak of, and how many times the first ones a value must be then."""
START = 5
"""First points whose median is the series' starting level."""
TAIL = 3.5
"""Deviations (MAD) that some residual of any noise reaches within a few dozen points; 2.4 σ of a normal one."""
FORGET = 1.0 / 2000.0
"""Share of what lies above TAIL that the record loses with each point."""


@dataclass
class Excursions:
    """The recent course of one series and how wildly it strays.

    Residuals are log ratios to the running median of the last 20 points. Their spread is half the distance of their
    quartiles (the MAD of a symmetric noise), taken about their own median, which is below zero while the series
    falls. `tail` is the record of past residuals in units of the spread: a series with heavy tails sets its own bar,
    whatever its noise. A value is judged before it is added; one that jumped enters the record only slightly above
    the bar, so that a second is seen.
    """

    level: Window = field(default_factory=lambda: Window(20))
    residuals: Window = field(default_factory=lambda: Window(60))
    start: list[float] = field(default_factory=list)
    count: int = 0
    tail: float = TAIL
    highest: float | None = None
    reach: float = 0.0
    """Residual that the record stands for, brought up to date at every eighth point; only beyond it the record is
    touched."""
    straying: float = 0.0
    """Largest residual of the excursion that is going on."""
    zero: float = 1e-300
    """What counts as zero for the log ratios."""
    signed: bool = False
    """Whether the series has been below zero."""

    def residual(self, value: float) -> float:
        """Log ratio of a value to the running median; 0 while there is none."""
        return log_ratio(value, self.level.median(), self.zero) if self.count else 0.0

    def small(self, value: float, share: float) -> bool:
        """Whether a value is less than `share` of the starting level of a positive series."""
        return bool(self.start) and 0.0 <= value < share * median(self.start)

    def spread(self) -> float:
        """MAD of the residuals about their median."""
        ordered = self.residuals.ordered
        last = len(ordered) - 1
        return max(0.5 * (ordered[3 * last // 4] - ordered[last // 4]), 1e-3) if last > 0 else 1e-3

    def jumped(self, value: float, residual: float, ratio: float, tails: float) -> bool:
        """Whether the value is `ratio` times the running median and `tails` times further out than the record."""
        if residual <= math.log(ratio):
            return False
        if self.count < GRACE:
            if self.signed and self.count < START:  # around zero nothing can be said before there is a spread
                return False
            least = 8.0 if self.count >= FEW else LONE
            return residual > max(math.log(least), 2.0 * math.log(ratio)) and (
                self.highest is None or value > self.highest
            )
        if residual <= tails * self.residuals.quantile(0.95):
            return False  # one point in twenty goes about as far: that is how this series is
        return residual - self.residuals.median() > tails * self.tail * self.spread()

    def add(self, value: float, residual: float, limit: float) -> None:
        """Takes a finite value into the history, with the residual that `residual` gave for it; `limit` is `tails`."""
        if self.count < START:
            self.start.append(value)
            self.measure_zero()
        if self.count == GRACE:  # the record starts with what strayed before there was a spread to measure it by
            self.learn_tail(self.residuals.high(), math.inf)
        if self.count & 7 == 0:
            self.reach = self.residuals.median() + self.tail * self.spread() if self.count else 0.0
        if residual > self.reach and self.count > GRACE:
            self.straying = max(self.straying, residual)
        elif self.straying > 0.0:  # it is back: now what it did becomes experience, a ramp does not raise its own bar
            self.residuals.add(self.straying)
            self.learn_tail(self.straying, limit)
            self.straying = 0.0
        self.tail -= FORGET * (self.tail - TAIL)
        if self.count and self.straying == 0.0:
            self.residuals.add(residual)
        self.level.add(value)
        if self.signed or value < 0.0:
            self.signed = True
            self.measure_zero()
        if self.highest is None or value > self.highest:
            self.highest = value
        self.count += 1

    def measure_zero(self) -> None:
        """Next to nothing of the starting level. Once the series has gone below zero: its own spread, and a twentieth
        of its size, for there zero is a value like any other."""
        if not self.signed or not self.level:
            self.zero = max(1e-12 * abs(median(self.start)), 1e-300)
            return
        ordered = self.level.ordered
        last = len(ordered) - 1
        size = max(abs(ordered[0]), abs(ordered[last]), abs(median(self.start)))
        self.zero = max(ordered[3 * last // 4] - ordered[last // 4], 0.05 * size, 1e-300)

    def learn_tail(self, residual: float, limit: float) -> None:
        strayed = (residual - self.residuals.median()) / self.spread()
        if strayed > self.tail:
            self.tail = min(strayed, 1.2 * limit * self.tail)
