"""JSON lines: rows with any usual column names, or our own `stream.jsonl`. A line that is no JSON object is counted
and skipped."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import codec, stream
from ..contract import RECORDS, Record
from ..errors import FormatError
from ._columns import Converter, metric_columns, number, recognise
from ._reading import Reading

SAMPLE = 400
"""Rows that are looked at before the columns are named."""
MOST_RECORDS = 25_000
"""Rows beyond which a log is folded into windows, so that a long one takes seconds."""

SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The C scanner alone: a third of the time of json.loads for short lines."""


def accepts(path: Path) -> bool:
    """Whether the file looks like JSON lines: the first line that is not empty is a JSON object."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return True
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
    except OSError:
        return False
    return _object(first) is not None


def read(path: Path, mapping: dict[str, str] | None = None) -> Reading:
    """Opens the log and names its columns; records follow as they are read.

    Raises FormatError for a file that cannot be read or holds no row with a loss, ConfigError for a mapping that does
    not fit.
    """
    reading = Reading("JSON lines", {}, iter(()))
    try:
        head = [row for row in itertools.islice(_rows(path, reading), SAMPLE) if row is not None]
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from None
    reading.skipped = 0
    if head and head[0].get("kind") in RECORDS and not mapping:
        return _own(path, reading)
    names = list(dict.fromkeys(name for row in head for name in row))
    columns = recognise(names, mapping)
    if "loss" not in columns and "eval_loss" not in columns:
        shown = ", ".join(names[:20]) or "none"
        raise FormatError(
            f"{path} has no column that looks like a loss (columns: {shown}).",
            "Name it: a mapping such as loss=my_column.",
        )
    converter = Converter(columns, metric_columns(names, columns), _every(path), _nulls_are_gaps(head, columns))
    if converter.every > 1:
        reading.notes.append(f"{converter.every} rows are folded into one window, extremes kept")
    reading.columns = columns
    reading.records = _counted(converter, path, reading)
    return reading


def _own(path: Path, reading: Reading) -> Reading:
    reading.source = "stationmaster stream"

    def counted() -> Iterator[Record]:
        damage: list[stream.Damage] = []
        for record in stream.records(path, damage=damage):
            reading.rows += 1
            yield record
        reading.skipped = len(damage)

    reading.records = counted()
    return reading


def _counted(converter: Converter, path: Path, reading: Reading) -> Iterator[Record]:
    for record in converter.records(row for row in _rows(path, reading) if row is not None):
        reading.rows = converter.rows
        yield record
    reading.rows = converter.rows


def _rows(path: Path, reading: Reading) -> Iterator[dict[str, Any] | None]:
    with path.open("rb") as file:
        for line in file:
            if len(line) > codec.MAX_LINE or (row := _object(line)) is None:
                reading.skipped += bool(line.strip())
                continue
            yield row


def _object(line: bytes) -> dict[str, Any] | None:
    """A line as a flat row: `{"train": {"loss": 1}}` has the column `train/loss`."""
    text = line.decode("utf-8", "replace").strip()
    try:
        row, end = SCAN(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    if not isinstance(row, dict) or end != len(text):
        return None
    return flat(row) if text.count("{") > 1 else row


def flat(row: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and depth < 4:
            found.update(flat(value, f"{prefix}{key}/", depth + 1))
        else:
            found[prefix + key] = value
    return found


def _every(path: Path) -> int:
    """Rows per record, from the file's size and the length of its first lines."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    lines = head.count(b"\n")
    expected = path.stat().st_size / max(1.0, len(head) / lines) if lines else 1.0
    return max(1, math.ceil(expected / MOST_RECORDS)) if expected > 2 * MOST_RECORDS else 1


def _nulls_are_gaps(head: list[dict[str, Any]], columns: dict[str, str]) -> bool:
    """A wide table has an empty loss in every row that logs something else; a NaN written as null hardly ever
    recovers thrice."""
    column = columns.get("loss") or columns["eval_loss"]
    cells = [number(row[column]) for row in head if column in row]
    returns = sum(1 for before, now in itertools.pairwise(cells) if before is None and now is not None)
    return returns >= 3
