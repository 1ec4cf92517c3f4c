"""What the columns of a table say before training: inputs left out, constant ones, cells and rows that say nothing."""

from __future__ import annotations

import numpy as np

from . import roles
from .columns import Column
from .facts import Finding
from .preprocessing import Preprocessing
from .table import Table, listed

_FILLERS = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)


def notes(whole: Table, train: Table, chosen: roles.Roles, fitted: Preprocessing) -> tuple[str, ...]:
    """What was done with the columns, one sentence each."""
    said = list(whole.notes)
    reasons = [f"{name!r} ({reason})" for name, reason in chosen.left_out.items()]
    if reasons:
        said.append(f"no inputs: {', '.join(reasons[:10])}{', …' if len(reasons) > 10 else ''}")
    categories = [f"{each.name} ({each.width})" for each in fitted.features if each.kind == "category"]
    if categories:
        said.append(f"one input per text (one-hot): {', '.join(categories[:10])}")
    arrays = [each for each in fitted.features if each.kind == "array"]
    if len(fitted.features) > 1 and arrays:
        said.append("arrays and columns are laid side by side in one flat input")
    elif arrays and len(arrays[0].shape) == 2:
        said.append(
            f"a sample has the shape {arrays[0].shape}; a convolution over images needs (channels, height, width)"
        )
    return tuple(said)


def left_out(chosen: roles.Roles) -> list[Finding]:
    """Columns that may carry information and are no inputs."""
    if not chosen.doubtful:
        return []
    many = len(chosen.doubtful)
    reasons = "; ".join(f"{name!r}: {chosen.left_out[name]}" for name in chosen.doubtful[:5])
    message = f"{many} column{'s are' if many > 1 else ' is'} no input ({reasons})."
    advice = "Derive numbers or categories from them if they matter."
    return [Finding("left_out", "warning", message, advice, {"columns": list(chosen.doubtful)})]


def unseen(fitted: Preprocessing, val: Table | None) -> list[Finding]:
    """Texts of validation that the training part lacks."""
    counts = {} if val is None else fitted.unseen(val)
    if not counts:
        return []
    words = ", ".join(f"{name!r}: {count}" for name, count in counts.items())
    message = f"validation has texts that training lacks (cells in {words}); they become zeros."
    return [Finding("unseen_category", "info", message, facts=dict(counts))]


def constant(train: Table, chosen: roles.Roles) -> list[Finding]:
    """Inputs that tell nothing because they hold one value."""
    simple = ("number", "boolean", "category")
    names = [name for name, form in chosen.used.items() if form in simple and _constant(train.columns[name])]
    if not names:
        return []
    many = len(names)
    message = f"{many} input{'s hold' if many > 1 else ' holds'} one value in the training part: {listed(names, 10)}."
    return [Finding("constant", "info", message, "Nothing can be learnt from them.", {"columns": names[:50]})]


def empty_rows(train: Table, chosen: roles.Roles) -> list[Finding]:
    """Rows without any input, which `missing_values` fills with means."""
    empty = np.ones(len(train), dtype=bool)
    for name in chosen.used:
        empty &= train.columns[name].missing()
    if not empty.any():
        return []
    message = f"{int(empty.sum()):,} training rows have no value in any input ({train.rows_of(empty)})."
    return [Finding("empty_rows", "warning", message, "Remove them: all of them would be filled with the same means.")]


def far_off(train: Table, chosen: roles.Roles) -> list[Finding]:
    """Numbers that stand for "unknown": one value, often, far away from all others."""
    found = []
    for name, form in chosen.used.items():
        said = _filler(train.columns[name]) if form == "number" else None
        if said:
            value, count = said
            message = f"the input {name!r} holds {value:g} in {count:,} rows, far from every other value."
            advice = "If it means unknown, empty these cells and set missing_values."
            found.append(Finding("filler", "warning", message, advice, {"column": name, "value": value}))
    return found


def _filler(column: Column) -> tuple[float, int] | None:
    """Minimum or maximum that occurs often, and lies further from the next value than those spread; with its count."""
    values = column.numbers()
    values = values[np.isfinite(values)]
    for value in (values.min(initial=np.inf), values.max(initial=-np.inf)):
        rest = values[values != value]
        many = len(values) - len(rest)
        if value not in _FILLERS or many < 5 or len(rest) < 20:
            continue
        away = min(abs(value - rest.min()), abs(value - rest.max()))
        if away > 2 * (rest.max() - rest.min()) > 0:
            return float(value), many
    return None


def _constant(column: Column) -> bool:
    return column.unique() < 2
