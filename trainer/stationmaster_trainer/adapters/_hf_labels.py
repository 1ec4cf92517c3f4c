"""Cells of a target column as class indices or numbers, and lists of tags as class indices; every odd one is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from ..table import listed
from ..target import MANY
from ._hf_rows import Rows


@dataclass(frozen=True)
class Answers:
    """The target of every row of one part."""

    values: np.ndarray
    """int64 (N,) class indices, or float32 (N,) for regression."""
    classes: tuple[str, ...]
    """Class names in index order; empty for regression."""


def answers(rows: Rows, column: str, task: str | None, order: Sequence[str] = (), first: Sequence[str] = ()) -> Answers:
    """Raises DataError for cells that are no classes (or numbers), for one class alone, and for too many of them.

    order: class names of the model; taken when they are the very classes of the data. first: those of the training
    part, when these are the rows of validation; what only validation has comes behind them.
    """
    cells = rows.columns[column]
    numeric = all(isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in cells)
    fractions = numeric and any(float(cell) != math.floor(float(cell)) for cell in cells if math.isfinite(float(cell)))
    if task == "regression" or (task is None and fractions):
        return _numbers(rows, column)
    if numeric and (fractions or not all(math.isfinite(float(cell)) for cell in cells)):
        raise _odd(rows, column, lambda cell: not float(cell).is_integer(), "which is no class")
    names = rows.classes.get(column, ())
    if numeric:
        whole = [int(cell) for cell in cells]
        names = _check_range(rows, column, whole, names)
        texts = [names[at] for at in whole] if names else [str(at) for at in whole]
        known = names or [str(at) for at in sorted(set(whole))]
    else:
        texts = [str(cell) for cell in cells]
        known = sorted(set(texts))
    classes = [*first, *(name for name in known if name not in first)] if first else _ordered(known, order)
    if not first:
        _refuse_classes(rows, column, texts)
    index = {name: at for at, name in enumerate(classes)}
    return Answers(np.array([index[text] for text in texts], dtype=np.int64), tuple(classes))


def tags(
    rows: Rows, column: str, words: str, order: Sequence[str] = (), first: Sequence[str] = ()
) -> tuple[list[list[int]], tuple[str, ...]]:
    """A class index per word of every row, and the class names (`O` first). DataError names a row that does not fit.

    order, first: as for `answers`.
    """
    cells = rows.columns[column]
    for at, (labels, row) in enumerate(zip(cells, rows.columns[words], strict=True)):
        if not isinstance(labels, list) or not isinstance(row, list) or len(labels) != len(row):
            found = f"{len(row)} words and {len(labels)} tags" if isinstance(labels, list) else "no list of tags"
            raise DataError(f"row {rows.numbers[at]} of {rows.name} has {found}.", "Give every word one tag.")
    names = rows.classes.get(column, ())
    if all(isinstance(tag, int) for row in cells for tag in row):
        flat = [tag for row in cells for tag in row]
        names = _check_range(rows, column, flat, names)
        known = names or [str(at) for at in range(max(flat, default=0) + 1)]
        texts = [[known[tag] for tag in row] for row in cells]
    else:
        texts = [[str(tag) for tag in row] for row in cells]
        known = sorted({tag for row in texts for tag in row}, key=lambda tag: (tag != "O", tag))
    classes = (*first, *(name for name in known if name not in first)) if first else tuple(_ordered(known, order))
    if len(classes) < 2:
        raise DataError(f"{rows.name} has one tag only ({listed(classes)}): nothing to learn.", "Name another column.")
    index = {name: at for at, name in enumerate(classes)}
    return [[index[tag] for tag in row] for row in texts], classes


def _numbers(rows: Rows, column: str) -> Answers:
    def odd(cell: Any) -> bool:
        try:
            return not math.isfinite(float(cell))
        except (TypeError, ValueError):
            return True

    if any(odd(cell) for cell in rows.columns[column]):
        raise _odd(rows, column, odd, "which is no number")
    return Answers(np.array([float(cell) for cell in rows.columns[column]], dtype=np.float32), ())


def _check_range(rows: Rows, column: str, whole: Iterable[int], names: Sequence[str]) -> tuple[str, ...]:
    """Whole numbers must be indices: none below 0, none beyond the names that the file gives."""
    most = len(names) if names else math.inf
    if any(not 0 <= at < most for at in whole):
        limit = f"0 to {len(names) - 1} ({listed(names, 5)})" if names else "0 upwards"

        def odd(cell: Any) -> bool:
            return any(not 0 <= int(each) < most for each in (cell if isinstance(cell, list) else [cell]))

        raise _odd(rows, column, odd, f"out of range: labels go from {limit}")
    return tuple(names)


def _odd(rows: Rows, column: str, odd: Any, what: str) -> DataError:
    places = [at for at, cell in enumerate(rows.columns[column]) if odd(cell)]
    shown = ", ".join(str(rows.numbers[at]) for at in places[:5])
    cell = str(rows.columns[column][places[0]])[:60]
    return DataError(
        f"the target column {column!r} of {rows.name} holds {cell!r} in row {shown}"
        f"{f' and {len(places) - 5} more' if len(places) > 5 else ''}, {what}.",
        "Correct these rows or remove them (-1 usually marks rows without a label).",
    )


def _ordered(known: Sequence[str], order: Sequence[str]) -> list[str]:
    """In the order that the model knows them in, when these are its classes."""
    return list(order) if len(order) == len(known) and set(order) == set(known) else list(known)


def _refuse_classes(rows: Rows, column: str, texts: list[str]) -> None:
    different = len(set(texts))
    if different < 2:
        raise DataError(
            f"the target column {column!r} of {rows.name} holds one value only ({texts[0]!r}): nothing to learn.",
            "Name another target column, or add data of another class.",
        )
    if different > max(2, min(MANY, len(texts) // 2)):
        raise DataError(
            f"the target column {column!r} of {rows.name} holds {different:,} different values in {len(texts):,} rows.",
            f"Name the target column; there are {listed(rows.columns)}.",
        )
