"""Inputs of a table that give the target away: another form of it, its parts, or a column that it follows from.

Judged on the training part. Not covered: what takes several columns together, but for a sum of them, and an input that
only nearly gives the target away.
"""

from __future__ import annotations

import numpy as np

from . import roles, target
from .columns import Column
from .facts import Finding
from .table import Table, listed

FEWEST = 10
"""Rows below which a rule that holds everywhere is no surprise."""
PER_VALUE = 10
"""Rows per value of a column, on average, from which it means something that each value has one target only."""
SEPARATED, EACH = 200, 20
"""Rows, and rows of each class, from which it means something that a number alone separates the classes."""
LOOKED_AT = 5000
"""Rows on which the target is compared with sums of columns."""
_NAMES = ("label", "target", "y", "class", "labels", "targets")


def of(train: Table, chosen: roles.Roles, aim: target.Target) -> list[Finding]:
    """A finding for each input that gives the target away, and for one that is named like a target."""
    goal = train.columns[aim.columns[0]]
    if len(aim.columns) > 1 or goal.kind == "list":
        return []
    found = []
    for name, form in chosen.used.items():
        simple = form in ("number", "boolean", "category") and len(train) >= FEWEST
        said = _gives_away(train.columns[name], goal, aim) if simple else ""
        if said:
            advice = f"If it is not known when predicting, remove the column {name!r}."
        elif name.casefold() in _NAMES:
            said = f"the column {name!r} is used as an input although it is named like a target."
            advice = f"Remove it, or set target to {name!r}."
        else:
            continue
        found.append(Finding("leak", "warning", said, advice, {"column": name}))
    return found or (_sums(train, chosen, goal) if aim.kind == "number" else [])


def _gives_away(column: Column, goal: Column, aim: target.Target) -> str:
    """How the column gives the target away, in words; empty when it does not."""
    if _same(column, goal, aim.kind):
        return f"the input {column.name!r} determines the target {aim.name!r} exactly."
    if values := _determines(column, goal):
        return f"each of the {values} values of the input {column.name!r} stands with one {aim.name!r} only."
    if aim.kind == "class" and _separates(column, goal):
        return f"the input {column.name!r} alone separates the classes of {aim.name!r} without an error."
    if aim.kind == "number" and _in_order(column, goal):
        return f"the input {column.name!r} puts the rows in exactly the order of the target {aim.name!r}."
    return ""


def _same(column: Column, goal: Column, kind: str) -> bool:
    """Whether one determines the other: a one-to-one mapping of classes, or a correlation of 1."""
    if kind == "class":
        if column.kind != "text" and len(np.unique(column.values[:1000])) > 2 * target.FEW:
            return False
        left, right = column.texts()[0], goal.texts()[0]
        if left.max(initial=0) > 2 * target.FEW or left.max(initial=0) != right.max(initial=0):
            return False
        return len(np.unique(left * (right.max() + 2) + right)) == len(np.unique(left)) == len(np.unique(right))
    if column.kind == "text" or goal.kind == "text":
        return False
    x, y = _both(column, goal)
    with np.errstate(all="ignore"):
        return len(x) > 2 and bool(abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9)


def _determines(column: Column, goal: Column) -> int:
    """The number of values of the column when each has one value of the target only, else 0."""
    most = len(column) // PER_VALUE
    if most < 2 or (column.kind != "text" and len(np.unique(column.values[: 2 * most])) > most):
        return 0
    left, right = column.texts()[0], goal.texts()[0]
    values = len(np.unique(left))
    if not 2 <= values <= most or len(np.unique(right)) > most:
        return 0
    return values if len(np.unique(left * (int(right.max()) + 2) + right)) == values else 0


def _separates(column: Column, goal: Column) -> bool:
    """Whether the values of the classes lie in ranges that do not touch."""
    if column.kind != "number" or len(column) < SEPARATED:
        return False
    values, codes = column.numbers(), goal.texts()[0]
    good = np.isfinite(values) & (codes >= 0)
    values, codes = values[good], np.unique(codes[good], return_inverse=True)[1]
    counts = np.bincount(codes)
    if len(counts) < 2 or counts.min() < EACH:
        return False
    low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    order = np.argsort(low)
    return bool((high[order][:-1] < low[order][1:]).all())


def _in_order(column: Column, goal: Column) -> bool:
    """Whether the target only grows, or only falls, with a column of many values."""
    if column.kind != "number" or goal.kind != "number" or len(column) < SEPARATED:
        return False
    x, y = _both(column, goal)
    order = np.argsort(x, kind="stable")
    steps, moved = np.diff(y[order]), np.diff(x[order]) > 0
    steps = steps[moved]
    return len(steps) > len(x) // 2 and bool((steps > 0).all() or (steps < 0).all())


def _sums(train: Table, chosen: roles.Roles, goal: Column) -> list[Finding]:
    """Whether the target is a sum or difference of columns, such as a total beside its parts."""
    names = [name for name, form in chosen.used.items() if form in ("number", "boolean")]
    rows = np.arange(0, len(train), max(1, len(train) // LOOKED_AT))
    if not 2 <= len(names) <= 200 or len(rows) < 5 * len(names):
        return []
    y = goal.take(rows).numbers()
    x = np.column_stack([train.columns[name].take(rows).numbers() for name in names])
    if not np.isfinite(x).all() or not np.isfinite(y).all() or y.std() == 0:
        return []
    x, y = x - x.mean(axis=0), y - y.mean()
    factors = np.linalg.lstsq(x, y, rcond=None)[0]
    weight = np.abs(factors) * x.std(axis=0)
    parts = [name for name, share in zip(names, weight / y.std(), strict=True) if share > 1e-6]
    exact = np.abs(x @ factors - y).max() <= 1e-6 * y.std()
    plain = np.abs(np.abs(factors[weight / y.std() > 1e-6]) - 1) < 1e-6
    if not exact or not plain.all() or len(parts) < 2:
        return []
    message = f"the target {goal.name!r} is the sum (or difference) of the inputs {listed(parts, 8)}."
    advice = "If they are not known when predicting, remove them."
    return [Finding("leak", "warning", message, advice, {"columns": parts})]


def _both(column: Column, goal: Column) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows where both have one."""
    x, y = column.numbers(), goal.numbers()
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]
