"""A log of rows as a reading: names the columns from its first rows, then turns block after block into records."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..contract import Record
from ..errors import FormatError
from ._cells import Row, losses_come_back, number, shapes
from ._converter import Cells, Converter
from ._names import NAMES, ignored, metric_columns, normalise, recognise
from ._reading import Mapping, Reading

SAMPLE = 400
"""Rows that are looked at before the columns are named."""
LATER = 50_000
"""Rows behind them in which further columns are looked for: a validation may come after thousands of steps."""
POSITION = "position"
"""Column of a figure `n/total` without a name."""
MOST_RECORDS = 25_000
"""Rows beyond twice which a log is folded into windows, so that a long one takes seconds."""


class Block(Protocol):
    """Some consecutive rows."""

    @property
    def size(self) -> int: ...
    def column(self, name: str) -> Cells: ...
    def row(self, place: int) -> Row: ...


@dataclass(frozen=True)
class Rows:
    """A block of rows that were parsed one by one."""

    rows: Sequence[Row]

    @property
    def size(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Cells:
        """The cells; None when no row has any (or when the name is a sum of columns)."""
        try:
            return list(map(operator.itemgetter(name), self.rows))
        except KeyError:
            cells: list[Any] = [row.get(name) for row in self.rows]
        return None if cells.count(None) == len(cells) else cells

    def row(self, place: int) -> Row:
        return self.rows[place]


@dataclass(frozen=True)
class Columns:
    """A block of equally long columns of text."""

    names: Sequence[str]
    cells: Sequence[Sequence[str]]

    @property
    def size(self) -> int:
        return len(self.cells[0]) if self.cells else 0

    def column(self, name: str) -> Cells:
        return self.cells[self.names.index(name)] if name in self.names else None

    def row(self, place: int) -> Row:
        return {name: cells[place].strip() or None for name, cells in zip(self.names, self.cells, strict=True)}


@dataclass(frozen=True)
class Values:
    """A block of equally long columns of values (numbers, texts, None)."""

    names: Sequence[str]
    cells: Sequence[Sequence[Any]]

    @property
    def size(self) -> int:
        return len(self.cells[0])

    def column(self, name: str) -> Cells:
        """The cells; None when no row has any (or when the name is a sum of columns)."""
        cells = self.cells[self.names.index(name)] if name in self.names else None
        return None if cells is None or (cells[0] is None and cells.count(None) == len(cells)) else cells

    def row(self, place: int) -> Row:
        return {name: cells[place] for name, cells in zip(self.names, self.cells, strict=True)}


@dataclass(frozen=True)
class Layout:
    """What a reader knows of its format beforehand."""

    source: str
    sparse: bool = False
    """Whether rows of several kinds stand in one table, so that an empty loss in a row of another kind is no NaN."""
    once: bool = False
    """Whether the same row may be printed several times (progress bars, several processes)."""
    several_steps: bool = False
    """Whether kinds of rows may name their step differently."""
    rows: float = 0.0
    """Rows to be expected."""
    lines: bool = False
    """Whether it is read line by line."""


def sample(blocks: Iterable[Block]) -> list[Row]:
    """The first rows, and of those behind them one for each other set of names."""
    rows: list[Row] = []
    known: set[tuple[str, ...]] = set()
    seen = 0
    for block in blocks:
        first = min(block.size, max(0, SAMPLE - seen))
        rows += map(block.row, range(first))
        later = range(first, block.size) if isinstance(block, Rows) else range(first, min(block.size, first + 1))
        known.update(map(tuple, rows) if first else ())
        for row in map(block.row, later) if len(known) < SAMPLE else ():
            if tuple(row) not in known:
                known.add(tuple(row))
                rows.append(row)
        seen += block.size
        if seen >= LATER:
            break
    return rows


def reading(
    path: Path, layout: Layout, head: Sequence[Row], blocks: Callable[[Reading], Iterable[Block]], mapping: Mapping
) -> Reading:
    """The reading of the table whose first rows are `head` and whose blocks (from the first row on) `blocks` gives.

    Raises FormatError for a table without a loss, ConfigError for a mapping that does not fit.
    """
    names = list(dict.fromkeys(name for row in head for name in row))
    columns = recognise(names, mapping, head)
    loss = columns.get("loss") or columns.get("eval_loss")
    if loss is None:
        shown = ", ".join(map(repr, names[:20])) or "none"
        raise FormatError(
            f"{path} has no column that looks like a loss (columns: {shown}).",
            "Name it: a mapping such as loss=my_column.",
        )
    metrics = metric_columns(names, columns)
    by_epoch = "step" not in columns and "epoch" in columns and _whole(head, columns["epoch"])
    kinds = shapes(head, loss) if layout.sparse else None
    every, gaps = _every(layout.rows), losses_come_back(head, loss)
    steps = [name for name in names if normalise(name) in NAMES["step"] and name not in (columns.get("step"), POSITION)]
    also = tuple(steps) if layout.several_steps and "step" in columns else ()
    converter = Converter(columns, metrics, every, gaps, kinds, by_epoch, layout.once, also)
    converter.carried = layout.once and _carried(head, columns.get("eval_loss", ""))
    found = Reading(layout.source, columns, iter(()))
    found.ignored = [name for name in ignored(names, columns, metrics) if name not in also]
    if "step" not in columns:
        found.notes.append(f"no column of steps: {'epochs are taken' if by_epoch else 'rows are counted'}")
    if converter.every > 1:
        found.notes.append(f"{converter.every} rows are folded into one window, extremes kept")
    found.lines = layout.lines
    found.batches = _batches(converter, blocks, found)
    found.records = itertools.chain.from_iterable(found.batches)
    return found


def _batches(
    converter: Converter, blocks: Callable[[Reading], Iterable[Block]], found: Reading
) -> Iterator[list[Record]]:
    for block in blocks(found):
        batch: list[Record] = list(converter.columns(block.size, block.column, block.row)) if block.size else []
        found.rows = converter.count
        yield batch
    yield list(converter.finish())


def _every(rows: float) -> int:
    return max(1, math.ceil(rows / MOST_RECORDS)) if rows > 2 * MOST_RECORDS else 1


def _whole(head: Sequence[Row], column: str) -> bool:
    """Whether every epoch of the first rows is a whole number."""
    found = [value for row in head if (value := number(row.get(column))) is not None and math.isfinite(value)]
    return len(set(found)) > min(1, len(found) // 3) and all(value == int(value) for value in found)


def _carried(head: Sequence[Row], column: str) -> bool:
    """Whether most rows repeat the validation loss of the row before."""
    cells = [value for row in head if (value := number(row.get(column))) is not None]
    again = sum(1 for before, now in itertools.pairwise(cells) if before == now)
    return len(cells) > 3 and 2 * again > len(cells)
