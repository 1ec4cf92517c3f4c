"""Loss curves as text: a sparkline for one line, a plot for a page, and the axis that `drawing.py` shares.

The curves come already thinned (`series.Thinner`); nothing here reads a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .words import number

BARS = "▁▂▃▄▅▆▇█"
LOG_ABOVE = 20.0
"""Largest over smallest value beyond which a curve of positive values is drawn on a logarithmic scale."""

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Scale:
    """A vertical axis: values from `low` to `high`, both finite and different, linear or logarithmic."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale | None:
        """The axis that shows every finite value; None when there is none."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        low, high = min(finite), max(finite)
        if low > 0 and high / low > LOG_ABOVE:
            return cls(low, high, True)
        room = 0.0 if high > low else max(abs(high), 1e-9) / 2
        return cls(low - room, high + room, False)

    def share(self, value: float) -> float:
        """Height of a finite value: 0 at `low`, 1 at `high`, cut to that range."""
        if self.log:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, part))

    def ticks(self) -> list[float]:
        """Round values inside the axis: powers of ten (with 2 and 5 where few fit), or about six even steps."""
        return self._log_ticks() if self.log else self._even_ticks()

    def _log_ticks(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / 6))
        factors = (1, 2, 5) if last - first <= 3 else (1,)
        values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        return [value for value in values if self.low <= value <= self.high]

    def _even_ticks(self) -> list[float]:
        step = even_step(self.high - self.low, 6)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor((self.high - first * step) / step + 1e-9)
        return [(first + index) * step for index in range(count + 1)]


def even_step(span: float, parts: int) -> float:
    """The round step (1, 2 or 5 times a power of ten) that cuts `span` into at most about `parts` parts."""
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """One line of bars, oldest first; `×` where a value is not finite. Logarithmic when the range asks for it."""
    shown = _shrunk(values, width)
    scale = Scale.of(shown)
    if scale is None:
        return "×" * len(shown)
    top = len(BARS) - 1
    return "".join(BARS[round(scale.share(value) * top)] if math.isfinite(value) else "×" for value in shown)


def plot(train: Points, validation: Points, width: int = 64, height: int = 12) -> str:
    """A text picture: `·` train loss, `o` validation loss, `×` at the foot where the train loss was not finite."""
    scale = Scale.of([value for _, value in (*train, *validation)])
    if scale is None:
        return "(no finite loss was recorded)"
    last = max(step for step, _ in (*train, *validation)) or 1
    cells = [[" "] * width for _ in range(height)]
    for points, sign in ((train, "·"), (validation, "o")):
        for step, value in points:
            column = min(width - 1, step * (width - 1) // last)
            if math.isfinite(value):
                cells[height - 1 - round(scale.share(value) * (height - 1))][column] = sign
            else:
                cells[height - 1][column] = "×"
    names = {0: number(scale.high), height - 1: number(scale.low)}
    margin = max(map(len, names.values()))
    rows = [f"{names.get(row, ''):>{margin}} |{''.join(line).rstrip()}" for row, line in enumerate(cells)]
    foot = f"step {last:,}"
    rows.append(" " * (margin + 1) + "+" + "-" * width)
    rows.append(" " * (margin + 2) + "0" + foot.rjust(width - 1))
    validated = ", o validation loss" if validation else ""
    return "\n".join([*rows, f"· train loss{validated}{', logarithmic scale' if scale.log else ''}"])


def _shrunk(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: the mean of each stretch, not finite where a value of the stretch is not."""
    if len(values) <= width:
        return list(values)
    edges = [index * len(values) // width for index in range(width + 1)]
    parts = [values[start:end] for start, end in pairwise(edges)]
    return [sum(part) / len(part) for part in parts]
