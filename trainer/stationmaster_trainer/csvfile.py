"""Reads a csv or tsv file with pandas, which is lenient, and refuses what it would quietly repair."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .columns import Column, parse_number
from .errors import DataError
from .frames import from_frame
from .packages import need
from .table import Table, listed


def read(path: Path, name: str, format: str) -> Table:
    """The table of a csv or tsv file. Raises DataError for what is none, UnicodeDecodeError for another encoding."""
    pandas = need("pandas", f"reading {name}")
    separator, header = _header(path, name, "\t" if format == "tsv" else "")
    decimal = "," if separator == ";" and _decimal_comma(path) else "."
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            frame = pandas.read_csv(
                path, sep=separator, decimal=decimal, index_col=False, keep_default_na=False, na_values=[""],
                skipinitialspace=True, low_memory=False, encoding="utf-8",
            )  # fmt: skip
        except pandas.errors.ParserWarning:
            raise DataError(
                f"{name} has rows with more fields than its header, which names {len(header)}.",
                "Add the missing names to the first line, or remove the separators at the end of the rows.",
            ) from None
        except pandas.errors.ParserError as error:
            said = str(error).removeprefix("Error tokenizing data. C error: ").strip()
            raise DataError(
                f"{name} cannot be read as a table: {said}.",
                "Correct that line: each row needs as many fields as the header.",
            ) from None
    table = from_frame(frame, name, notes=_csv_notes(name, separator, decimal, format))
    _refuse_short_rows(path, table, separator, len(header))
    _refuse_data_as_header(table, header)
    return table


def _csv_notes(name: str, separator: str, decimal: str, format: str) -> tuple[str, ...]:
    if format == "tsv" or separator == ",":
        return ()
    comma = ", numbers have a decimal comma" if decimal == "," else ""
    return (f"{name}: fields are separated by {separator!r}{comma}",)


def _header(path: Path, name: str, separator: str) -> tuple[str, list[str]]:
    """Separator and column names from the first line that is not blank. Raises DataError for what is no header."""
    with open(path, encoding="utf-8-sig", newline="") as file, _readable(name):
        line = next((line for line in itertools.islice(file, 1000) if line.strip()), "")
        if not line:
            raise DataError(f"{name} is empty.", "Name a file that holds data.")
        separator = separator or max(",;\t|", key=line.count)
        file.seek(0)
        header = next(row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if any(row))
    if _looks_like_data(header):
        raise _no_header(name, header)
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise DataError(
            f"{name} has the column {twice[0]!r} {header.count(twice[0])} times.",
            "Give every column a name of its own.",
        )
    return separator, header


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as a table: {error}.", "Correct its first lines.") from None


def _refuse_data_as_header(table: Table, header: list[str]) -> None:
    """Names that also stand as cells below themselves are the first row of a file without a header."""
    counting = _counting(_numbers(header))
    found = [name for name in header if name in table.columns and _holds(table.columns[name], name, counting)]
    if len(found) * 2 >= len(header):
        raise _no_header(table.name, header)


def _holds(column: Column, name: str, counting: bool) -> bool:
    if column.kind == "text":
        return name in column.levels
    number = parse_number(name)
    return column.kind == "number" and not counting and bool((column.values == number).any())


def _no_header(name: str, header: list[str]) -> DataError:
    return DataError(
        f"the first line of {name} looks like data, not like column names: {listed(header, 5)}.",
        "Add a first line with the names of the columns.",
    )


def _looks_like_data(header: list[str]) -> bool:
    """Mostly numbers, and not just the counting names 0, 1, 2, … that pandas writes."""
    numbers = _numbers(header)
    return len(numbers) * 2 >= len(header) and len(numbers) > 0 and not _counting(numbers)


def _numbers(header: list[str]) -> list[float]:
    return [number for number in (parse_number(cell) for cell in header) if number == number]


def _counting(numbers: list[float]) -> bool:
    return len(numbers) > 1 and all(b - a == 1 for a, b in itertools.pairwise(numbers))


def _decimal_comma(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", newline="") as file:
        text = "".join(itertools.islice(file, 1, 200))
    return bool(re.search(r"\d,\d", text)) and not re.search(r"\d\.\d", text)


def _refuse_short_rows(path: Path, table: Table, separator: str, fields: int) -> None:
    """pandas fills rows that end too early with missing values; an empty last cell is legal, a lacking one is not."""
    last = list(table.columns.values())[-1]
    suspects = np.flatnonzero(last.missing())
    if fields < 2 or not len(suspects):
        return
    with open(path, encoding="utf-8-sig", newline="") as file, contextlib.suppress(csv.Error):
        rows = (row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row)
        for position, row in enumerate(itertools.islice(rows, 1, int(suspects[-1]) + 2)):
            if len(row) < fields and (len(row) > 1 or row[0].strip()):
                raise DataError(
                    f"row {position + 1} of {table.name} has {len(row)} fields, the header names {fields}.",
                    "Correct that row: a cell without a value still needs its separator.",
                )
