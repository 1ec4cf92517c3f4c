"""Cells of a foreign table as numbers, and whether an empty one means "not a number" or "not logged in this row"."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
NOT_A_NUMBER = frozenset({"", "none", "null", "na", "n/a", "-", "--"})
"""Texts of cells that were left empty."""


def number(value: Any) -> float | None:
    """A cell as a float (NaN and infinities included); None for what is no number."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)
    if isinstance(value, str):
        try:
            return float(value.strip().replace(",", "") or "x")
        except ValueError:
            return None
    return None


def filled(value: Any) -> bool:
    """Whether a cell holds anything."""
    return value is not None and not (isinstance(value, str) and value.strip().lower() in NOT_A_NUMBER)


def losses_come_back(rows: Iterable[Row], column: str) -> bool:
    """A wide table has an empty loss in every row that logs something else; a NaN written as null hardly ever
    recovers thrice."""
    cells = [number(row[column]) for row in rows if column in row]
    return sum(1 for before, now in itertools.pairwise(cells) if before is None and now is not None) >= 3


def shape(row: Row, without: str) -> frozenset[str]:
    """The columns that a row fills, one left out."""
    return frozenset(name for name, value in row.items() if name != without and filled(value))


def shapes(rows: Sequence[Row], column: str) -> frozenset[frozenset[str]]:
    """Which other columns are filled in the rows that have a number in this one."""
    return frozenset(shape(row, column) for row in rows if number(row.get(column)) is not None)


def as_numbers(cells: Sequence[Any]) -> list[float] | None:
    """A column as floats in one stroke; None when a cell is no plain number."""
    kinds = set(map(type, cells))
    if kinds == {float}:
        return list(cells)
    if not kinds <= {float, int, str}:
        return None
    try:
        return list(map(float, cells))
    except (ValueError, OverflowError):
        return None


def as_steps(cells: Sequence[Any]) -> list[int] | None:
    """A column as integers in one stroke; None when a cell is no plain integer."""
    kinds = set(map(type, cells))
    if kinds == {int}:
        return list(cells)
    if kinds != {str}:
        return None
    try:
        return list(map(int, cells))
    except ValueError:
        return None
