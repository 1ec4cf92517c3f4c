"""Empty, non-finite and unreadable cells: refused with their place, left out with their rows, or filled by the mean."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .errors import ConfigError, DataError
from .table import Table

Policy = Literal["error", "drop", "mean"]
WAY_OUT = "Correct them, or set missing_values to `drop` (leaves those rows out) or `mean` (the training part's mean)."


def treat(table: Table, features: tuple[str, ...], targets: tuple[str, ...], policy: str) -> tuple[Table, int]:
    """The table without the rows that cannot be used, and how many those were.

    `error` refuses any such cell; `drop` leaves its row out; `mean` keeps the row unless the target itself is
    missing (`Preprocessing` fills the others). Raises DataError that names column, count and first rows.
    """
    if policy not in ("error", "drop", "mean"):
        raise ConfigError(f"missing_values is {policy!r}.", "Allowed: error, drop, mean.")
    if policy == "error":
        for name in (*targets, *features):
            _refuse(table, name, name in targets)
        return table, 0
    gone = np.zeros(len(table), dtype=bool)
    for name in targets if policy == "mean" else (*targets, *features):
        gone |= table.columns[name].missing()
    dropped = int(gone.sum())
    if dropped == len(table):
        raise DataError(f"every row of {table.name} has a missing cell: none is left.", "Set missing_values to `mean`.")
    return (table.take(np.flatnonzero(~gone)) if dropped else table), dropped


def _refuse(table: Table, name: str, is_target: bool) -> None:
    column = table.columns[name]
    gone = column.missing()
    if not gone.any():
        return
    what = "target column" if is_target else "column"
    count = int(gone.sum())
    if column.odd_count:
        cells = ", ".join(f"row {table.rows[at]}: {text[:40]!r}" for at, text in column.odd)
        raise DataError(
            f"the {what} {name!r} of {table.name} holds numbers except in {column.odd_count} cells: {cells}.",
            WAY_OUT,
        )
    infinite = int(np.isinf(column.values).sum()) if column.values.dtype.kind == "f" else 0
    kinds = "missing" if not infinite else ("infinite" if infinite >= count else "missing or infinite")
    raise DataError(
        f"the {what} {name!r} of {table.name} has {count} {kinds} cell{'s' if count > 1 else ''} "
        f"in {len(table):,} rows ({table.rows_of(gone)}).",
        WAY_OUT,
    )
