"""What the columns of a table say before training: inputs left out, inputs that give the target away, groups, time."""

from __future__ import annotations

import numpy as np

from . import roles, target
from .columns import Column
from .facts import Finding
from .preprocessing import Preprocessing
from .table import Table, listed


def notes(whole: Table, train: Table, chosen: roles.Roles, fitted: Preprocessing) -> tuple[str, ...]:
    """What was done with the columns, one sentence each."""
    said = list(whole.notes)
    reasons = [f"{name!r} ({reason})" for name, reason in chosen.left_out.items()]
    if reasons:
        said.append(f"no inputs: {', '.join(reasons[:10])}{', …' if len(reasons) > 10 else ''}")
    constant = [name for name, form in chosen.used.items() if form == "number" and _constant(train.columns[name])]
    if constant:
        said.append(f"constant in the training part, kept: {listed(constant, 10)}")
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


def leaks(train: Table, chosen: roles.Roles, aim: target.Target) -> list[Finding]:
    """Inputs that are another form of the target, or named like one."""
    if len(aim.columns) > 1 or train.columns[aim.columns[0]].kind == "list":
        return []
    goal, found = train.columns[aim.columns[0]], []
    for name, form in chosen.used.items():
        simple = form in ("number", "boolean", "category") and len(train) >= 10
        if simple and _same(train.columns[name], goal, aim.kind):
            message = f"the input {name!r} determines the target {aim.name!r} exactly."
            advice = f"If it is not known when predicting, remove the column {name!r}."
        elif name.casefold() in ("label", "target", "y", "class", "labels", "targets"):
            message = f"the column {name!r} is used as an input although it is named like a target."
            advice = f"Remove it, or set target to {name!r}."
        else:
            continue
        found.append(Finding("leak", "warning", message, advice, {"column": name}))
    return found


def against_random_split(whole: Table, aim: target.Target, group: str | None) -> list[Finding]:
    """Columns that name groups or times: rows that belong together should not land on both sides."""
    found = []
    for name, column in whole.columns.items():
        if name in aim.columns or name == group:
            continue
        if (
            group is None
            and roles.GROUP_NAME.fullmatch(name.strip())
            and 1 < (many := column.unique()) < len(column) / 1.5
        ):
            message = f"{name!r} has {many:,} values in {len(column):,} rows, so rows of one {name} land on both sides."
            advice = f"If they belong together, set group_column to {name!r}."
            found.append(Finding("groups", "warning", message, advice, {"column": name}))
        if column.kind == "date":
            found.append(_time(name, column.values))
    return found


def group_overlap(group: str | None, train: Table, val: Table) -> list[Finding]:
    """Groups that stand in both files."""
    if group is None or group not in val.columns:
        return []
    seen = [_texts(table.columns[group]) for table in (train, val)]
    both = sorted(seen[0] & seen[1])
    if not both:
        return []
    share = f"{len(both)} of {len(seen[1])} groups of {group!r}"
    message = f"{share} in {val.name} also stand in {train.name} ({listed(both, 5)})."
    advice = "Validation then measures known groups: use a file with other groups, or val_data: split."
    return [Finding("group_overlap", "warning", message, advice, {"groups": len(both)})]


def _time(name: str, values: np.ndarray) -> Finding:
    steps = np.diff(values[np.isfinite(values)])
    ordered = len(steps) > 1 and bool((steps >= 0).all() or (steps <= 0).all())
    seen = "the rows are in its order" if ordered else "the rows are not in its order"
    message = f"{name!r} holds dates ({seen}): a random split trains on rows later than those it validates on."
    advice = "If the model is to predict the future, give the newest rows as a validation file."
    return Finding("time", "warning" if ordered else "info", message, advice, {"column": name})


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
    x, y = column.numbers(), goal.numbers()
    good = np.isfinite(x) & np.isfinite(y)
    with np.errstate(all="ignore"):
        return bool(good.sum() > 2) and bool(abs(np.corrcoef(x[good], y[good])[0, 1]) > 1 - 1e-9)


def _constant(column: Column) -> bool:
    values = column.numbers()
    return bool(np.nanmin(values) == np.nanmax(values))


def _texts(column: Column) -> set[str]:
    codes, levels = column.texts()
    return {levels[code] for code in np.unique(codes[codes >= 0]).tolist()}
