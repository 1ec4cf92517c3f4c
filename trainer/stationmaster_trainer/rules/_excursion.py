"""Tells a jump from noise in a positive (or signed) series: against its running median, its own deviation and its own tails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ._window import Window, log_ratio, median

GRACE = 10
"""Points before the running median and the deviation are trusted; until then only the first values are a measure."""
START = 5
"""First points whose median is the series' starting level."""


@dataclass
class Excursions:
    """The recent course of one series: level, ordinary deviations and ordinary upward tails.

    `jump` is called before `add`, so that a value is judged by what came before it. Values that jumped enter the history as
    well: the median does not mind them, and a series that often jumps has heavy tails and deserves a higher bar.
    """

    floor_share: float
    """Share of the starting level below which only absolute changes count."""
    level: Window = field(default_factory=lambda: Window(20))
    deviation: Window = field(default_factory=lambda: Window(100))
    """|residual| of the last 100 points; its median is the MAD about the running median."""
    upward: Window = field(default_factory=lambda: Window(100))
    """max(residual, 0) of the same points."""
    start: list[float] = field(default_factory=list)
    count: int = 0
    highest: float | None = None

    def residual(self, value: float) -> float:
        """Log ratio of a value to the running median; 0 while there is none."""
        return log_ratio(value, self.level.median(), self.floor()) if self.count else 0.0

    def floor(self) -> float:
        """`floor_share` of the starting level; for a series with negative values, a twentieth of it at least."""
        if not self.start:
            return 1e-300
        share = self.floor_share if self.level.low() >= 0.0 else max(self.floor_share, 0.05)
        return max(share * abs(median(self.start)), 1e-300)

    def bar(self, ratio: float, deviations: float, tails: float) -> float:
        """What a residual must exceed to be a jump (log ratio). During the grace: `ratio` squared, over the highest so far."""
        if self.count < GRACE:
            return 2.0 * math.log(ratio)
        return max(math.log(ratio), deviations * self.deviation.median(), tails * self.upward.quantile(0.95))

    def add(self, value: float, residual: float) -> None:
        """Takes a finite value into the history, with the residual that `residual` gave for it."""
        if self.count < START:
            self.start.append(value)
        if self.count:
            self.deviation.add(abs(residual))
            self.upward.add(residual if residual > 0.0 else 0.0)
        self.level.add(value)
        self.highest = value if self.highest is None or value > self.highest else self.highest
        self.count += 1
