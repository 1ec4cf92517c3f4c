"""Reads a table (csv, tsv, parquet, JSON lines) with pandas and pyarrow, and says what is wrong with a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import csvfile
from .errors import DataError
from .frames import from_frame, from_series
from .packages import need
from .table import Table

CHUNK = 50_000
"""JSON lines that are parsed before they are packed into columns."""
_UTF8 = "Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 old.csv > new.csv"


def read(path: Path, name: str, format: str) -> Table:
    """Reads the file at `path` as `format` (csv, tsv, parquet, jsonl); `name` is for messages. Raises DataError."""
    reader = {"csv": csvfile.read, "tsv": csvfile.read, "parquet": _read_parquet, "jsonl": _read_jsonl}[format]
    try:
        table = reader(path, name, format)
    except UnicodeDecodeError:
        raise not_utf8(path, name) from None
    if not len(table):
        raise DataError(f"{name} has column names but no rows.", "Name a file that holds data.")
    return table


def _read_jsonl(path: Path, name: str, format: str) -> Table:
    pandas = need("pandas", f"reading {name}")
    frames: list[Any] = []
    rows: list[int] = []
    numbered = records(path, name)
    while chunk := list(itertools.islice(numbered, CHUNK)):
        rows.extend(number for number, _ in chunk)
        frames.append(pandas.DataFrame([record for _, record in chunk], dtype=object))
    if not frames:
        raise DataError(f"{name} is empty.", "Name a file that holds data.")
    frame = pandas.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return from_frame(frame, name, np.array(rows, dtype=np.int64))


def records(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON lines file, or of one JSON list, each with its line. DataError names what is none."""
    with open(path, encoding="utf-8-sig") as file:
        yield from enumerate(_array(file, name), 1) if _first_character(file) == "[" else _lines(file, name)


def _first_character(file: Any) -> str:
    start: str = file.read(1000).lstrip()
    file.seek(0)
    return start[:1]


def _array(file: Any, name: str) -> list[dict[str, Any]]:
    try:
        records = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name} is not readable JSON: {error}.", "Correct the file, or write one object per line."
        ) from None
    if not all(isinstance(record, dict) for record in records):
        raise DataError(
            f"{name} holds something else than objects in its list.", "Write a list of objects, one per sample."
        )
    return list(records)


def _lines(file: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"line {number} of {name} is not readable JSON: {error}.", "Write one object per line."
            ) from None
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise DataError(
                f"line {number} of {name} holds a {kind}, not an object.", 'Write {"column": value, …} per line.'
            )
        yield number, record


def _read_parquet(path: Path, name: str, format: str) -> Table:
    parquet = need("pyarrow.parquet", f"reading {name}")
    need("pandas", f"reading {name}")
    try:
        content = parquet.ParquetFile(path).read()
    except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise DataError(
            f"{name} is no readable parquet file: {str(error).splitlines()[0]}", "Write it again."
        ) from None
    labels = [label for label in content.column_names if not label.startswith("__index_level_")]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise DataError(f"{name} has the column {twice[0]!r} more than once.", "Give every column a name of its own.")
    columns = {label: from_series(label, content[label].to_pandas()) for label in labels}
    return Table(name, columns, np.arange(1, content.num_rows + 1))


def not_utf8(path: Path, name: str) -> DataError:
    """The error for a file in another encoding: which byte, on which line."""
    with open(path, "rb") as file:
        start = file.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff"):
            return DataError(
                f"{name} is encoded in UTF-16.", "Save it as UTF-8: iconv -f UTF-16 -t UTF-8 old.csv > new.csv"
            )
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return DataError(f"{name} is not UTF-8 text: line {number} holds the byte 0x{byte:02x}.", _UTF8)
    return DataError(f"{name} is not UTF-8 text.", _UTF8)
