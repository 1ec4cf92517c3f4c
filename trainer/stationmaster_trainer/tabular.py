"""From a table or numpy archive to training and validation data: target, roles, missing cells, split, preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import arrays, belonging, fitting, hints, leaks, missing, roles, split, tables, target, tokens
from .dataset import ArrayDataset, Data
from .datasettings import NONE, SPLIT, DataSettings
from .errors import DataError
from .facts import Finding
from .preprocessing import Preprocessing, TargetSpec
from .table import Table, listed


@dataclass(frozen=True)
class Sides:
    """The rows of both parts, treated for missing cells."""

    train: Table
    val: Table | None
    dropped: int
    method: str


def read(path: Path, name: str, format: str, part: str = "train") -> Table:
    """Reads csv, tsv, parquet, jsonl or npz."""
    return arrays.read(path, name, part) if format == "npz" else tables.read(path, name, format)


def load(settings: DataSettings, train_path: Path, format: str, val: tuple[Path, str] | None) -> Data:
    """Data from the training file and, where there is one, the path and format of the validation file."""
    whole = read(train_path, settings.train_data, format)
    val_table = None if val is None else read(val[0], settings.val_data, val[1], "val")
    inferred = settings.task in (None, "custom") and settings.target is None and tokens.alone(whole)
    if settings.task == "language_modeling" or inferred:
        return tokens.load(settings, whole, val_table)
    aim = target.find(whole, settings.target, settings.task)
    if settings.group_column is not None:
        whole.column(settings.group_column, "group column")
    chosen = roles.assign(whole, aim.columns, settings.group_column, settings.time_column)
    sides = _sides(settings, whole, val_table, aim, chosen)
    fitted = _fit(settings, sides, aim, chosen)
    train = _dataset(fitted, sides.train)
    validation = None if sides.val is None else _dataset(fitted, sides.val)
    findings = hints.left_out(chosen) + hints.unseen(fitted, sides.val) + leaks.of(sides.train, chosen, aim)
    findings += hints.constant(sides.train, chosen) + hints.empty_rows(sides.train, chosen)
    findings += hints.far_off(sides.train, chosen) + _belonging(settings, sides, aim)
    return Data(
        train=train,
        val=validation,
        task=aim.task,
        task_why=aim.task_why,
        target=aim.name,
        classes=fitted.target.classes,
        input_shape=train.inputs.shape[1:],
        outputs=_outputs(fitted.target, train),
        vocabulary=_vocabulary(chosen, train, validation),
        preprocessing=fitted,
        dropped=sides.dropped,
        method=sides.method,
        fingerprint="",
        notes=hints.notes(whole, sides.train, chosen, fitted),
        findings=tuple(findings),
        target_why=aim.why,
    )


def _belonging(settings: DataSettings, sides: Sides, aim: target.Target) -> list[Finding]:
    """Groups and times that stand on both sides."""
    if sides.val is None:
        return []
    group, time, drawn = settings.group_column, settings.time_column, settings.val_data == SPLIT
    random = drawn and time is None
    found = [] if drawn else belonging.group_overlap(group, sides.train, sides.val)
    return found + belonging.of_tables(sides.train, sides.val, aim.columns, random, group, time)


def _fit(settings: DataSettings, sides: Sides, aim: target.Target, chosen: roles.Roles) -> Preprocessing:
    return fitting.fit(
        sides.train,
        chosen.used,
        TargetSpec(aim.columns, aim.kind, _class_names(sides, aim)),
        aim.task,
        scale=settings.scale_inputs,
        missing_values=settings.missing_values,
        left_out=chosen.left_out,
    )


def _sides(settings: DataSettings, whole: Table, val: Table | None, aim: target.Target, chosen: roles.Roles) -> Sides:
    """Carries out the validation decision."""
    features = tuple(chosen.used)
    rows, dropped = missing.treat(whole, features, aim.columns, settings.missing_values)
    _refuse_constant(rows, aim)
    if val is not None:
        _same_columns(val, whole, (*aim.columns, *features))
        other, more = missing.treat(val, features, aim.columns, settings.missing_values)
        return Sides(rows, other, dropped + more, f"file {settings.val_data}")
    if settings.val_data != SPLIT:
        return Sides(rows, None, dropped, f"{NONE} (waived)")
    if settings.time_column is not None:
        return _by_time(settings, rows, dropped, settings.time_column)
    classes = _codes(rows, aim) if aim.kind == "class" else None
    groups = None if settings.group_column is None else rows.columns[settings.group_column].texts()[0]
    parts = split.divide(len(rows), fraction=settings.val_fraction, seed=settings.seed, classes=classes, groups=groups)
    by = f", grouped by {settings.group_column}" if groups is not None else ""
    if classes is not None:
        by += f", stratified by {aim.name}" if groups is None else f", balanced by {aim.name}"
    return Sides(
        rows.take(parts.train),
        rows.take(parts.val),
        dropped,
        f"{split.shares(settings.val_fraction)} split, seed {settings.seed}{by}",
    )


def _by_time(settings: DataSettings, rows: Table, dropped: int, name: str) -> Sides:
    """The newest rows validate."""
    column = rows.column(name, "time column")
    moments = column.values if column.kind == "date" else column.numbers()
    parts = split.by_time(moments, settings.val_fraction, f"the time column {name!r} of {rows.name}")
    method = f"{split.shares(settings.val_fraction)} split by time: the newest rows by {name} validate"
    return Sides(rows.take(parts.train), rows.take(parts.val), dropped, method)


def _codes(table: Table, aim: target.Target) -> np.ndarray:
    column = table.columns[aim.columns[0]]
    if column.kind == "list":
        return np.asarray(column.values.argmax(axis=1))
    return column.texts()[0]


def _class_names(sides: Sides, aim: target.Target) -> tuple[str, ...]:
    """Names over both parts: a class that only validation has still needs an index (and is a finding)."""
    if aim.kind != "class":
        return ()
    column = sides.train.columns[aim.columns[0]]
    if column.kind == "list":
        return tuple(str(index) for index in range(column.values.shape[1]))
    names = _present(sides.train, aim)
    return names + tuple(name for name in (_present(sides.val, aim) if sides.val else ()) if name not in names)


def _present(table: Table, aim: target.Target) -> tuple[str, ...]:
    codes, levels = table.columns[aim.columns[0]].texts()
    return tuple(levels[code] for code in np.unique(codes[codes >= 0]).tolist())


def _dataset(fitted: Preprocessing, table: Table) -> ArrayDataset:
    return ArrayDataset(fitted.inputs(table), fitted.targets(table), table.rows)


def _outputs(spec: TargetSpec, train: ArrayDataset) -> int:
    if spec.kind == "class":
        return len(spec.classes)
    return 1 if train.targets is None or train.targets.ndim == 1 else int(np.prod(train.targets.shape[1:]))


def _vocabulary(chosen: roles.Roles, train: ArrayDataset, val: ArrayDataset | None) -> int | None:
    if list(chosen.used.values()) != ["tokens"]:
        return None
    return 1 + max(int(part.inputs.max()) for part in (train, val) if part is not None)


def _same_columns(val: Table, train: Table, needed: tuple[str, ...]) -> None:
    gone = [name for name in needed if name not in val.columns]
    if gone:
        raise DataError(
            f"{val.name} lacks the column{'s' if len(gone) > 1 else ''} {listed(gone)} that {train.name} has; "
            f"its columns are {listed(val.columns)}.",
            "Give the validation file the same columns.",
        )


def _refuse_constant(rows: Table, aim: target.Target) -> None:
    column = rows.columns[aim.columns[0]]
    if column.kind != "list" and column.unique() < 2:
        raise DataError(
            f"the target column {aim.name!r} of {rows.name} holds one value only without its rows with missing cells.",
            "Add data, or set missing_values to `mean`.",
        )
