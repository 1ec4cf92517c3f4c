"""A table: columns of equal length with the row numbers they have in their file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .columns import Column, from_array
from .errors import DataError


@dataclass(frozen=True)
class Table:
    """The content of a data file."""

    name: str
    """The file as the person named it, for messages."""
    columns: dict[str, Column]
    rows: np.ndarray
    """int64 (N,): number of each row in its file, counted from 1 without the header (JSON lines: the line)."""
    notes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    """The columns that are the inputs where the file says so by their names (npz); empty: all but the target."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray) -> Table:
        """The table of these positions, in their order."""
        columns = {name: column.take(positions) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[positions])

    def column(self, name: str, what: str = "column") -> Column:
        """The column. Raises DataError that lists the columns there are and the closest one."""
        if name in self.columns:
            return self.columns[name]
        close = closest(name, self.columns)
        raise DataError(
            f"{self.name} has no {what} {name!r}; its columns are {listed(self.columns)}.",
            f"Did you mean {close!r}?" if close else f"Name one of these as the {what}.",
        )

    def rows_of(self, mask: np.ndarray, most: int = 5) -> str:
        """The first rows where `mask` (N,) is true, in words: `rows 3, 17, 20, …`."""
        return listed_rows(self.rows[np.flatnonzero(mask)[: most + 1]], most)


def as_table(data: Any, name: str = "the new data") -> Table:
    """A Table from a Table, a pandas DataFrame, or a mapping of names to arrays of equal length."""
    if isinstance(data, Table):
        return data
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        from .frames import from_frame

        return from_frame(data, name)
    if isinstance(data, Mapping):
        columns = {str(key): from_array(str(key), np.asarray(value)) for key, value in data.items()}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(
                f"the arrays of {name} differ in length: {lengths}.", "Give each column the same number of rows."
            )
        return Table(name, columns, np.arange(1, next(iter(lengths.values())) + 1))
    raise DataError(
        f"{name} is a {type(data).__name__}.", "Give a pandas DataFrame, or a dict of arrays by column name."
    )


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, upper and lower case ignored; None when none is."""
    folded = {str(item).casefold(): str(item) for item in known}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def listed_rows(rows: np.ndarray, most: int = 5) -> str:
    """Row numbers in words, the first `most` of them: `rows 3, 17, 20, …`."""
    found = rows[: most + 1].tolist()
    shown = ", ".join(str(row) for row in found[:most]) + (", …" if len(found) > most else "")
    return f"row{'s' if len(found) > 1 else ''} {shown}"


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names in words, the first `most` of them."""
    every = [str(name) for name in names]
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(repr(name) for name in every[:most]) + more
