"""Which columns become inputs and in what form, and which are left out, each with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from .arrays import TOKENS
from .columns import Column
from .errors import DataError
from .table import Table

MAX_CATEGORIES = 50
"""Most different texts of a column that is encoded with one input per text."""
FEW_ROWS = 20
"""Fewest rows in which counting up by one is no accident."""
_ID_NAME = re.compile(
    r"(?i:unnamed: ?\d+|index|idx|id|uuid|guid|key|(row|record|sample)[ _]?(id|no|nr|num|number|index)?|.+[ _-]id)"
    r"|.*[a-z]I[dD]"
)


@dataclass(frozen=True)
class Roles:
    """What becomes of each column but the target."""

    used: dict[str, str] = field(default_factory=dict)
    """Column → `number`, `boolean`, `category`, `array` or `tokens`, in the order of the file."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Column → why it is no input."""
    doubtful: tuple[str, ...] = ()
    """Those of `left_out` that may carry information (texts, dates, nested values)."""


def assign(table: Table, targets: tuple[str, ...], group: str | None, time: str | None = None) -> Roles:
    """Decides from the whole file; every statistic comes later and from the training part alone.

    Raises DataError when no input is left.
    """
    used: dict[str, str] = {}
    left: dict[str, str] = {}
    doubtful: list[str] = []
    for name, column in table.columns.items():
        if name in targets:
            continue
        reason, doubt = _reason(table, column, group, time)
        if reason:
            left[name] = reason
            doubtful += [name] if doubt else []
        else:
            used[name] = _form(column)
    if not used:
        raise _nothing_left(table, left)
    return Roles(used, left, tuple(doubtful))


def _reason(table: Table, column: Column, group: str | None, time: str | None) -> tuple[str, bool]:
    """Why the column is no input (empty: it is one), and whether that may lose information."""
    if column.name == group:
        return "it names the groups of the split", False
    if column.name == time:
        return "it gives the time that the split goes by", False
    if table.inputs and column.name not in table.inputs:
        return f"the inputs are {table.inputs[0]!r}", False
    if column.missing().all():
        return "it is empty in every row", False
    if column.kind == "object":
        return column.problem, True
    if column.kind == "date":
        return "dates are no quantity: derive numbers from them, such as the month or the days since", True
    if column.name not in table.inputs and _identifies(column):
        return "it numbers or names each row", False
    if column.kind == "text" and (many := column.unique()) > min(MAX_CATEGORIES, max(2, len(column) // 2)):
        return f"it holds {many:,} different texts in {len(column):,} rows, too many for categories", True
    return "", False


def _identifies(column: Column) -> bool:
    """One value per row, and either named like an identifier or simply counting the rows."""
    named = _ID_NAME.fullmatch(column.name.strip()) is not None
    n = len(column)
    if n < 3 or column.kind not in ("text", "number") or (column.kind == "number" and not column.integral()):
        return False
    if named:
        return column.unique() == n
    return column.kind == "number" and n > FEW_ROWS and bool(np.all(np.diff(column.values) == 1))


def _form(column: Column) -> str:
    if column.kind == "list":
        whole = column.values.dtype.kind in "iu" and column.values.dtype != np.uint8
        return "tokens" if whole and column.name.lower() in TOKENS else "array"
    return "category" if column.kind == "text" else column.kind


def _nothing_left(table: Table, left: dict[str, str]) -> DataError:
    if not left:
        return DataError(f"{table.name} has no column beside the target.", "Add columns with the inputs.")
    reasons = "; ".join(f"{name!r}: {reason}" for name, reason in list(left.items())[:5])
    texts = any("different texts" in reason for reason in left.values())
    way_out = (
        "Text needs a tokenizer: use a Transformers model, or give build_data(split) in the model file."
        if texts
        else "Add numeric columns, or give build_data(split) in the model file."
    )
    return DataError(f"no column of {table.name} can be an input ({reasons}).", way_out)
