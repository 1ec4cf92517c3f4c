"""Rows that belong together on both sides of a split: of one person, document or file, or earlier and later ones.

A column is taken for such a group or time by its name and its values; whether it is one, the person knows.
"""

from __future__ import annotations

import re

import numpy as np

from .columns import Column
from .facts import Finding
from .table import Table, listed

GROUP_NAME = re.compile(
    r"(patient|subject|user|customer|client|person|speaker|session|group|device|household|family|site|author|writer|"
    r"participant|student|animal|donor|account|document|doc|article|file|filename|path|video|clip|recording|scene|"
    r"conversation|thread|dialog(ue)?|episode|trial|url)[ _-]?(id|no|nr|number|name)?",
    re.IGNORECASE,
)
"""Names of columns whose equal values often belong on one side of a split."""
ID_NAME = re.compile(r"(?i:.+[ _-](id|uuid|key))|.*[a-z]I[dD]")
"""Names of other identifiers: they may be groups where each stands in a few rows."""
TIME_NAME = re.compile(
    r"(?i:(unix|event|record(ing)?|visit|order|sale|measurement)?[ _-]?(time|timestamp|date|datetime|epoch)|"
    r"(created|recorded|posted|measured|published|timestamp)[ _-]?(at|on)?)"
)
"""Names of numbers that may be times."""
_BIRTH = re.compile(r"birth|born|dob", re.IGNORECASE)
_EPOCHS = ((6e8, 2.5e9), (6e11, 2.5e12), (6e17, 2.5e18))
"""Seconds, milliseconds and nanoseconds since 1970, for 1989 to 2049."""


def of_tables(
    train: Table, val: Table, skip: tuple[str, ...], random: bool, group: str | None, time: str | None
) -> list[Finding]:
    """Findings on every column of the two parts but those of `skip`. random: whether the parts were drawn."""
    found: list[Finding] = []
    for name, column in train.columns.items():
        if name in skip or name not in val.columns:
            continue
        if name != group and column.kind in ("number", "text", "boolean") and named(name):
            found += groups(name, *_codes(column, val.columns[name]))
        moments = None if name == time else times(column)
        if moments is not None:
            other = times(val.columns[name])
            found += sides(name, moments, other, train.rows, random)
    return found


def sides(name: str, train: np.ndarray, val: np.ndarray | None, rows: np.ndarray, random: bool) -> list[Finding]:
    """A finding on a column of times (N,) in the training rows `rows`, against those of validation (M,)."""
    return _mixed(name, train, rows) if random else _behind(name, train, val)


def groups(name: str, train: np.ndarray, val: np.ndarray) -> list[Finding]:
    """Whether rows of one group stand in both parts. Int codes (N,) and (M,) with the same meaning, -1 = missing."""
    known, held = np.unique(train[train >= 0]), val[val >= 0]
    values, rows = len(np.union1d(known, held)), len(train) + len(val)
    both = np.isin(held, known)
    if not named(name) or not 1 < values < rows / 1.5 or not both.any():
        return []
    usual = GROUP_NAME.fullmatch(name.strip()) is not None
    if not usual and values < max(20, rows // 1000):
        return []
    share = float(both.sum() / len(val))
    message = (
        f"{name!r} has {values:,} values in {rows:,} rows, so rows of one {name} land on both sides: {share:.0%} of "
        f"the validation rows have one that training has too."
    )
    advice = f"If they belong together, set group_column to {name!r}."
    facts = {"column": name, "values": values, "share": share}
    return [Finding("groups", "warning" if usual else "info", message, advice, facts)]


def group_overlap(group: str | None, train: Table, val: Table) -> list[Finding]:
    """Groups of the column that was named as such that stand in both files."""
    if group is None or group not in val.columns:
        return []
    codes = _codes(train.columns[group], val.columns[group])
    known, held = (np.unique(each[each >= 0]) for each in codes)
    both = np.isin(held, known)
    if not both.any():
        return []
    levels = val.columns[group].take(np.flatnonzero(np.isin(codes[1], held[both]))).texts()
    names = sorted(levels[1][code] for code in np.unique(levels[0]).tolist())
    message = (
        f"{len(names)} of {len(held)} groups of {group!r} in {val.name} also stand in {train.name} "
        f"({listed(names, 5)})."
    )
    advice = "Validation then measures known groups: use a file with other groups, or val_data: split."
    return [Finding("group_overlap", "warning", message, advice, {"groups": len(names)})]


def times(column: Column) -> np.ndarray | None:
    """float64 (N,) that grows with time, NaN = missing; None for a column that does not look like a time."""
    if _BIRTH.search(column.name):
        return None
    if column.kind == "date":
        return column.values
    if column.kind != "number" or not TIME_NAME.fullmatch(column.name.strip()):
        return None
    values = column.numbers()
    present = values[np.isfinite(values)]
    epochs = len(present) > 0 and any(low <= present.min() and present.max() <= high for low, high in _EPOCHS)
    return values if epochs else None


def named(name: str) -> bool:
    """Whether a column is named like an identifier of groups."""
    return any(pattern.fullmatch(name.strip()) for pattern in (GROUP_NAME, ID_NAME))


def _mixed(name: str, values: np.ndarray, rows: np.ndarray) -> list[Finding]:
    """A random split: later rows train, earlier ones validate."""
    steps = np.diff(values[np.argsort(rows, kind="stable")])
    steps = steps[np.isfinite(steps)]
    if not steps.any():
        return []
    ordered = bool((steps >= 0).all() or (steps <= 0).all())
    seen = "the rows are in its order" if ordered else "the rows are not in its order"
    message = f"{name!r} holds times ({seen}): a random split trains on rows later than those it validates on."
    advice = f"If the model is to predict the future, set time_column to {name!r}: the newest rows validate then."
    return [Finding("time", "warning", message, advice, {"column": name})]


def _behind(name: str, train: np.ndarray, val: np.ndarray | None) -> list[Finding]:
    """Two files: how much of training is later than the first of validation."""
    if val is None or not np.isfinite(val).any() or not np.isfinite(train).any():
        return []
    later = float(np.mean(train[np.isfinite(train)] > np.nanmin(val)))
    if not later:
        return []
    message = f"{later:.0%} of the training rows are later, by {name!r}, than the first validation row."
    advice = "If the model is to predict the future, validate on rows that are later than all of training."
    return [Finding("time", "info", message, advice, {"column": name, "share": later})]


def _codes(train: Column, val: Column) -> tuple[np.ndarray, np.ndarray]:
    """Both columns as int64 codes with the same meaning, -1 = missing."""
    if train.kind == val.kind == "text" and train.levels is val.levels:
        return train.values, val.values
    codes, levels = train.texts()
    other, others = val.texts()
    index = {level: at for at, level in enumerate(levels)}
    moved = [index.get(level, len(levels) + at) for at, level in enumerate(others)]
    return codes, np.array([*moved, -1], dtype=np.int64)[other]
