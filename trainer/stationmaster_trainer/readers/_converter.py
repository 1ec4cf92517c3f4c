"""Foreign rows to records in order: at most one train record and one validation a row, however the log lays them out.

`rows` takes one row after another and knows every special case; `columns` takes a block of plain rows in one stroke.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contract import Eval, Train
from ._cells import Row, as_numbers, as_steps, number, shape
from ._fold import Window
from ._names import VALIDATION

Records = Iterator[Train | Eval]
Cells = Sequence[Any] | None
"""One column of a block; None where the log has no such column."""


@dataclass
class Converter:
    """Turns rows into records, folded by `every` into windows."""

    roles: dict[str, str]
    """Role → column."""
    metrics: dict[str, str] = field(default_factory=dict)
    """Column → name of a further validation figure."""
    every: int = 1
    gaps: bool = False
    """Whether an empty loss always means "not logged in this row" rather than "not a number"."""
    shapes: frozenset[frozenset[str]] | None = None
    """Which other columns rows with a loss fill; an empty loss in a row of another shape is a gap. None: not known."""
    by_epoch: bool = False
    """Whether the epoch stands for the step, because there is no other."""
    once: bool = False
    """Whether a row that repeats step and loss of the one before is the same row printed again."""
    also: tuple[str, ...] = ()
    """Further columns of steps, for rows that lack the first."""
    carried: bool = False
    """Whether rows repeat the newest validation until there is another."""
    last_eval: float | None = None
    count: int = 0
    step: int = 0
    raw: float = -math.inf
    """The row's step as it was written."""
    epoch: float = -math.inf
    offset: int = 0
    """Added to steps that begin anew with every epoch."""
    rate: float = math.nan
    last: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        self.window = Window(self.every)
        order = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm", "split")
        self._step, self._epoch, self._loss, self._eval, self._rate, self._norm, self._split = (
            self.roles.get(role, "") for role in order
        )

    def finish(self) -> Records:
        """The window that was not full at the end."""
        yield from self.window.flush()

    def columns(self, size: int, column: Callable[[str], Cells], row: Callable[[int], Row]) -> Records:
        """A block of `size` rows by its columns; stretches of plain rows (a step, a train loss) go in one stroke, the
        others through `row(i)`."""
        names = (self._step, self._loss, self._eval, self._epoch, self._rate, self._norm)
        steps, losses, evals, epochs, rates, norms = (column(name) if name else None for name in names)
        odd = None if steps is None or losses is None or self._split else _odd(steps, losses, evals)
        if steps is None or losses is None or odd is None or 4 * len(odd) > size:
            yield from self.rows(map(row, range(size)))
            return
        start = 0
        for place in [*odd, size]:
            if place > start:
                part = slice(start, place)
                taken = self._plain(steps[part], losses[part], rates and rates[part], norms and norms[part])
                if taken is None:
                    yield from self.rows(map(row, range(start, place)))
                else:
                    self.epoch = self._last_epoch(epochs and epochs[place - 1])
                    yield from self.window.extend(*taken)
            if place < size:
                yield from self.rows((row(place),))
            start = place + 1

    def _last_epoch(self, cell: Any) -> float:
        epoch = number(cell)
        return self.epoch if epoch is None else epoch

    def _plain(
        self, steps: Sequence[Any], losses: Sequence[Any], rates: Cells, norms: Cells
    ) -> tuple[list[int], list[float], list[float], list[float] | None] | None:
        """(steps, losses, rates, norms) as numbers, or None when the rows must be looked at one by one."""
        at, values = as_steps(steps), as_numbers(losses)
        speeds = as_numbers(rates) if rates else None
        sizes = as_numbers(norms) if norms else None
        if at is None or values is None or (rates and speeds is None) or (norms and sizes is None):
            return None
        if (self.once or self._epoch) and not (at[0] > self.raw and all(map(operator.lt, at, at[1:]))):
            return None
        if self.offset:
            at = [step + self.offset for step in at]
        self.count += len(at)
        self.raw, self.step, self.last = at[-1] - self.offset, at[-1], (at[-1], values[-1])
        if speeds is None:
            speeds = [self.rate] * len(at)
        self.rate = speeds[-1]
        return at, values, speeds, sizes

    def rows(self, rows: Iterable[Row]) -> Records:
        """One pass over rows of any kind."""
        for row in rows:
            self.count += 1
            self._position(row)
            yield from self._row(row)

    def _position(self, row: Row) -> None:
        """Sets `step`: the row's own, its epoch where there are no steps, else the count of rows."""
        epoch = number(row.get(self._epoch)) if self._epoch else None
        if not self._step and not self.by_epoch:
            self.step = self.count
            return
        value = number(row.get(self._step)) if self._step else epoch
        if value is None and self.also:
            value = next((found for name in self.also if (found := number(row.get(name))) is not None), None)
        if value is None or not math.isfinite(value):
            return
        if self._step and epoch is not None and epoch > self.epoch and value < self.raw:
            self.offset = self.step + (0 if value > 0 else 1)  # steps begin anew with the epoch
        self.raw, self.step = value, int(value) + self.offset
        self.epoch = self.epoch if epoch is None else epoch

    def _row(self, row: Row) -> Records:
        loss, eval_loss = self._losses(row)
        rate = self._cell(row, self._rate)
        if rate is not None:
            self.rate = rate
        again = loss is not None and self.once and (self.step, loss) == self.last
        loss = None if again else loss
        norm = self._cell(row, self._norm)
        if norm is not None and not again:
            self.window.norms.append(norm)
        if loss is not None:
            self.last = (self.step, loss)
            yield from self.window.add(self.step, loss, self.rate)
        if eval_loss is not None and self.carried and eval_loss == self.last_eval:
            eval_loss = None
        if eval_loss is not None:
            self.last_eval = eval_loss
            yield from self.window.flush()
            metrics = {name: value for key, name in self.metrics.items() if (value := number(row.get(key))) is not None}
            yield Eval(time=0.0, elapsed=0.0, step=self.step, loss=eval_loss, metrics=metrics, samples=0, seconds=0.0)

    def _losses(self, row: Row) -> tuple[float | None, float | None]:
        loss, eval_loss = self._cell(row, self._loss), self._cell(row, self._eval)
        if self._split and str(row.get(self._split, "")).strip().lower() in VALIDATION and eval_loss is None:
            return None, loss
        if loss is None and eval_loss is None and not self.gaps:
            empty = self._loss in row and row[self._loss] is None and self._usual(row, self._loss)
            other = self._eval in row and row[self._eval] is None
            if empty and self._eval not in row:
                return math.nan, None
            if other and self._loss not in row:
                return None, math.nan
        return loss, eval_loss

    def _usual(self, row: Row, column: str) -> bool:
        return self.shapes is None or shape(row, column) in self.shapes

    def _cell(self, row: Row, column: str) -> float | None:
        if not column:
            return None
        if column in row:
            return number(row[column])
        if "+" not in column:
            return None
        parts = [number(row.get(part)) for part in column.split("+")]
        known = [part for part in parts if part is not None]
        return sum(known) if known else None


def _odd(steps: Sequence[Any], losses: Sequence[Any], evals: Cells) -> list[int]:
    """Places of the rows that are no plain train rows: no step, no loss, or a validation."""
    places, found = range(len(losses)), set[int]()
    for cells in (steps, losses):
        for hole in (None, ""):
            if hole in cells:
                found.update(itertools.compress(places, map(operator.eq, cells, itertools.repeat(hole))))
    if evals is not None and evals.count("") < len(evals):
        texts = None not in evals and isinstance(evals[0], str)  # of texts, only the empty one is false
        filled = evals if texts else map(operator.is_not, evals, itertools.repeat(None))
        found.update(itertools.compress(places, filled))
    return sorted(found)
