"""Which column is to be predicted and what kind of task that makes, each with its reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from .columns import Column
from .contract import Task
from .errors import ConfigError, DataError
from .table import Table, listed

NAMES = ("label", "target", "y", "class", "labels", "targets", "output", "outcome", "species", "category", "response")
"""Column names that are taken for the target, the first that exists."""
CLASS_NAMES = frozenset({"label", "labels", "class", "classes", "category", "species"})
"""Names that speak of classes: whole numbers below them are classes even when there are many."""
FEW = 20
"""Most different whole numbers that are taken for classes by themselves."""
MANY = 1000
"""Most different values that can be classes."""


@dataclass(frozen=True)
class Target:
    """The columns to predict, and the task."""

    columns: tuple[str, ...]
    why: str
    """Why these columns."""
    task: Task
    task_why: str
    kind: str
    """`class` or `number`."""

    @property
    def name(self) -> str:
        return ",".join(self.columns)


def find(table: Table, wanted: str | None, task: str | None) -> Target:
    """The target of a table: `wanted` (several numeric columns with commas), else by name, else the last column.

    Raises DataError when it is missing, empty, constant or does not fit `task`, ConfigError for an unknown task.
    """
    if task is not None and task not in get_args(Task):
        raise ConfigError(f"task is {task!r}.", f"Allowed: {', '.join(get_args(Task))}.")
    columns, why = _columns(table, wanted)
    for name in columns:
        if table.column(name, "target column").missing().all():
            raise DataError(
                f"the target column {name!r} of {table.name} is empty in every row.", "Name another target."
            )
    first = table.columns[columns[0]]
    if len(columns) > 1:
        kind, reason = "number", "several target columns"
        if any(table.columns[name].kind not in ("number", "boolean") for name in columns):
            raise DataError(
                f"several target columns are named, and not all hold numbers: {listed(columns)}.", "Name one."
            )
    else:
        kind, reason = _kind(table, first)
    found: Task = "classification" if kind == "class" else "regression"
    if task in ("classification", "regression") and task != found:
        kind, found = ("class" if task == "classification" else "number"), task  # type: ignore[assignment]
        reason = f"task is set to {task}"
    elif task in ("custom", "language_modeling"):
        found, reason = task, f"task is set to {task}"  # type: ignore[assignment]
    _check(table, columns, kind)
    return Target(columns, why, found, reason, kind)


def _columns(table: Table, wanted: str | None) -> tuple[tuple[str, ...], str]:
    if wanted is not None and wanted not in table.columns and "," in wanted:
        parts = tuple(part.strip() for part in wanted.split(","))
        for part in parts:
            table.column(part, "target column")
        return parts, "named in the configuration"
    if wanted is not None:
        return (table.column(wanted, "target column").name,), "named in the configuration"
    folded = {name.strip().casefold(): name for name in reversed(list(table.columns))}
    for name in NAMES:
        if name in folded:
            return (folded[name],), f"by its name {folded[name]!r}"
    if table.inputs:
        raise DataError(
            f"{table.name} has the inputs {table.inputs[0]!r} but no target; it holds {listed(table.columns)}.",
            "Add an array y with one value per row, or name the target.",
        )
    last = list(table.columns)[-1]
    return (last,), "the last column"


def _kind(table: Table, column: Column) -> tuple[str, str]:
    """`class` or `number`, and why."""
    name, different = column.name, column.unique()
    n = int((~column.missing()).sum())
    if column.kind == "boolean":
        return "class", f"the target {name!r} is true or false"
    if column.kind == "text":
        return "class", f"the target {name!r} holds {different} different texts"
    if column.kind == "list":
        if one_hot(column.values):
            return "class", f"the target {name!r} is one-hot with {column.values.shape[1]} classes"
        return "number", f"the target {name!r} holds lists of {column.values[0].size} numbers"
    if column.kind != "number":
        what = "dates" if column.kind == "date" else column.problem
        raise DataError(f"the target column {name!r} of {table.name} holds {what}.", "Name another target column.")
    if not column.integral():
        return "number", f"the target {name!r} holds {different} different numbers with fractions"
    if different <= FEW and (different < 0.05 * n or (n < 400 and different <= max(2, n // 3))):
        return "class", f"the target {name!r} holds {different} different whole numbers in {n:,} rows"
    if name.casefold() in CLASS_NAMES and different <= min(MANY, n // 2):
        return "class", f"the target {name!r} is named like a class and holds {different} different whole numbers"
    if _image_labels(table, column, different, n):
        return "class", f"the target {name!r} counts from 0 to {different - 1} beside arrays"
    return "number", f"the target {name!r} holds {different} different whole numbers in {n:,} rows"


def _image_labels(table: Table, column: Column, different: int, n: int) -> bool:
    """Whole numbers 0 … k-1, each often, beside arrays of two or more axes: labels of images."""
    arrays = any(table.columns[name].values.ndim > 2 for name in table.inputs)
    present = column.values[~column.missing()]
    return arrays and different <= min(MANY, n // 5) and present.min() == 0 and present.max() == different - 1


def one_hot(values: np.ndarray) -> bool:
    """Whether each row of (N, k ≥ 2) has one 1 and else 0."""
    if values.ndim != 2 or values.shape[1] < 2:
        return False
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


def _check(table: Table, columns: tuple[str, ...], kind: str) -> None:
    """Refuses a target that teaches nothing or does not fit the task."""
    name, column = columns[0], table.columns[columns[0]]
    n = int((~column.missing()).sum())
    if kind == "number" and column.kind not in ("number", "boolean", "list"):
        raise DataError(
            f"the target column {name!r} of {table.name} holds {column.kind}, which regression cannot predict.",
            "Name a numeric target, or set task to classification.",
        )
    if column.kind == "list":
        return
    different = column.unique()
    if kind == "class" and different > max(2, min(MANY, n // 2)):
        raise DataError(
            f"the target column {name!r} of {table.name} holds {different:,} different values in {n:,} rows.",
            f"Name the target column; there are {listed(table.columns)}.",
        )
    if different < 2:
        raise DataError(
            f"the target column {name!r} of {table.name} holds one value only in {n:,} rows: nothing to learn.",
            "Name another target column, or add data of another class.",
        )
