"""JSON lines: rows with any usual column names, or our own `stream.jsonl`. A line that is no JSON object is counted
and skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from .. import stream
from ..contract import RECORDS, Record
from ..errors import FormatError
from . import _lines
from ._reading import Mapping, Reading
from ._table import SAMPLE, Layout, Rows, reading

SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The C scanner alone: a third of the time of json.loads for short lines."""
TOGETHER = 2000
"""Lines that are parsed in one stroke; where one of them is damaged, each by itself."""
DEEP = 4
"""Levels of nested objects whose names are joined."""
RANK = 60
"""Place among the readers that are asked whether they know a file."""


def accepts(path: Path) -> bool:
    """Whether the file looks like JSON lines: the first line that is not empty is a JSON object."""
    if path.is_dir():
        return False
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return True
    first = next((line for line in _lines.head(path) if line.strip()), "")
    return _object(first) is not None


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Opens the log and names its columns; records follow as they are read.

    Raises FormatError for a file that cannot be read or holds no row with a loss, ConfigError for a mapping that does
    not fit.
    """
    head = list(islice((row for block in _blocks(path, Reading("", {}, iter(()))) for row in block.rows), SAMPLE))
    if head and head[0].get("kind") in RECORDS and not mapping:
        return _own(path)
    if not head:
        raise FormatError(f"{path} holds no JSON object.", "Give a log with one object a line.")
    layout = Layout("JSON lines", rows=_lines.expected(path), lines=True)
    return reading(path, layout, head, lambda found: _blocks(path, found), mapping)


def _own(path: Path) -> Reading:
    found = Reading("stationmaster stream", {}, iter(()))

    def counted() -> Iterator[Record]:
        damage: list[stream.Damage] = []
        for record in stream.records(path, damage=damage):
            found.rows += 1
            yield record
        found.skipped = len(damage)

    found.records = counted()
    return found


def _blocks(path: Path, found: Reading) -> Iterator[Rows]:
    for lines, dropped in _lines.blocks(path, found):
        found.skipped += dropped
        if not lines:
            yield Rows([])
        for start in range(0, len(lines), TOGETHER):
            part = [line for line in lines[start : start + TOGETHER] if line]
            rows = _together(part) or [row for line in part if (row := _object(line)) is not None]
            found.skipped += sum(1 for line in part if line.strip()) - len(rows) if len(rows) < len(part) else 0
            yield Rows(rows)


def _together(lines: list[str]) -> list[dict[str, Any]] | None:
    """The objects of many lines at once; None when not every line is one."""
    text = ",".join(lines)
    try:
        rows = json.loads(f"[{text}]")
    except (ValueError, RecursionError):
        return None
    if len(rows) != len(lines) or set(map(type, rows)) != {dict}:
        return None
    return rows if text.count("{") == len(rows) else [flat(row) for row in rows]


def _object(line: str) -> dict[str, Any] | None:
    """A line as a flat row: `{"train": {"loss": 1}}` has the column `train/loss`."""
    text = line.strip().lstrip("\ufeff")
    try:
        row, end = SCAN(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    if not isinstance(row, dict) or end != len(text):
        return None
    return flat(row) if text.count("{") > 1 else row


def flat(row: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested objects as one row, their names joined by `/`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and depth < DEEP:
            found.update(flat(value, f"{prefix}{key}/", depth + 1))
        else:
            found[prefix + key] = value
    return found
