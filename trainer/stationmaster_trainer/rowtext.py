"""Single rows of data files as short texts, for a person who asks to see the examples of a finding.

The files are read up to the row, nothing is kept. Not covered: folders of tables and what `build_data` returns.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import formats, images, tables
from .errors import DataError
from .packages import need

MOST = 10
"""Rows that are shown."""
CELL, WHOLE = 120, 400
"""Characters of one cell, and of one row."""


def of(project: Path, names: dict[str, str], wanted: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """`train row 17: …` for each (part, row number) of `wanted`. names: part → file or folder of the project.

    Raises DataError for data whose rows cannot be shown.
    """
    shown: dict[tuple[str, int], str] = {}
    for part in sorted({part for part, _ in wanted}):
        numbers = sorted({row for each, row in wanted if each == part})
        full = formats.locate(project, names[part])
        for row, text in _rows(full, names[part], part, numbers):
            shown[part, row] = text if len(text) <= WHOLE else f"{text[:WHOLE]}…"
    every = list(dict.fromkeys(wanted))[:MOST]
    return tuple(f"{part} row {row}: {shown.get((part, row), 'not found')}" for part, row in every)


def _rows(full: Path, name: str, part: str, numbers: list[int]) -> Iterator[tuple[int, str]]:
    form = formats.detect(full, name)
    if form == "images":
        paths = images.find(full, name, part).paths
        yield from ((row, str(paths[row - 1].relative_to(full))) for row in numbers if row <= len(paths))
    elif form in ("csv", "tsv"):
        yield from _csv(full, "\t" if form == "tsv" else "", numbers)
    elif form == "jsonl":
        wanted = set(numbers)
        yield from ((row, _said(record)) for row, record in tables.records(full, name) if row in wanted)
    elif form == "parquet":
        yield from _parquet(full, name, numbers)
    elif form == "text":
        yield from _paragraphs(full, name, numbers)
    else:
        raise DataError(f"rows of {name} ({form}) cannot be shown.", "Look at them by their numbers.")


def _csv(full: Path, separator: str, numbers: list[int]) -> Iterator[tuple[int, str]]:
    wanted = set(numbers)
    with open(full, encoding="utf-8-sig", errors="replace", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        separator = separator or max(",;\t|", key=first.count)
        file.seek(0)
        filled = (row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row)
        header = next(filled, [])
        for number, row in enumerate(itertools.islice(filled, max(numbers)), 1):
            if number in wanted:
                yield number, _said(dict(zip(header, row, strict=False)))


def _parquet(full: Path, name: str, numbers: list[int]) -> Iterator[tuple[int, str]]:
    file, first = need("pyarrow.parquet", f"reading {name}").ParquetFile(full), 1
    for batch in file.iter_batches(10_000):
        for number in numbers:
            if first <= number < first + batch.num_rows:
                yield number, _said(batch.slice(number - first, 1).to_pylist()[0])
        first += batch.num_rows


def _paragraphs(full: Path, name: str, numbers: list[int]) -> Iterator[tuple[int, str]]:
    if full.is_dir():
        raise DataError(f"lines of the folder {name} cannot be shown.", "Look at its files.")
    wanted = set(numbers)
    with open(full, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if number in wanted:
                yield number, line.strip()


def _said(record: dict[str, Any]) -> str:
    """`column: cell` one after the other, each cut."""
    return "; ".join(f"{key}: {_cell(value)}" for key, value in record.items())


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= CELL else f"{text[:CELL]}…"
