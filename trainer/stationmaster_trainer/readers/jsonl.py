"""JSON lines: rows with any usual column names, or our own `stream.jsonl`. A line that is no JSON object is counted
and skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import stream
from ..contract import RECORDS, Record
from ..errors import FormatError
from . import _lines
from ._reading import Mapping, Reading
from ._strides import cut, stretches
from ._table import Block, Layout, Rows, Values, reading, sample

SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The C scanner alone: a third of the time of json.loads for short lines."""
TOGETHER = 2000
"""Lines that are parsed in one stroke; where one of them is damaged, each by itself."""
FIELD = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:\s*("(?:[^"\\]|\\.)*"|[^,"{}\[\]\s]+)')
"""A name and its plain value, in a line that is an object."""
ATTEMPTS = 4
"""Blocks in a row that were not of one form, after which none is tried."""
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
    head = sample(_blocks(path, Reading("", {}, iter(()))))
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


def _blocks(path: Path, found: Reading) -> Iterator[Block]:
    failed = 0
    for lines, dropped in _lines.blocks(path, found):
        found.skipped += dropped
        if not lines:
            yield Rows([])
        for start in range(0, len(lines), TOGETHER):
            part = list(filter(None, lines[start : start + TOGETHER]))
            same = _alike(part) if failed < ATTEMPTS else None
            failed = 0 if same else failed + 1
            yield from same or [_rows(part, found)]


def _rows(lines: list[str], found: Reading) -> Rows:
    rows = _together(lines) or [row for line in lines if (row := _object(line)) is not None]
    found.skipped += sum(1 for line in lines if line.strip()) - len(rows) if len(rows) < len(lines) else 0
    return Rows(rows)


def _alike(lines: Sequence[str]) -> list[Block] | None:
    """Lines that hold the same names in the same order as blocks of whole columns; None when most do not, or when any
    of them is damaged."""
    names, pieces = _form(lines[len(lines) // 2]) if len(lines) > 2 else ((), ())
    parted = cut(lines, pieces) if names else None
    if parted is None:
        return None
    (front, *columns, back), others = parted
    cells = [_values(column) for column in columns]
    rows = {place: _object(lines[place]) for place in others}
    if "".join(front).strip() or "".join(back).strip() or None in cells or None in rows.values():
        return None
    blocks: list[Block] = []
    for start, end, place in stretches(len(lines), others):
        if end > start:
            blocks.append(Values(names, [column[start:end] for column in cells if column is not None]))
        row = rows[place] if place is not None else None
        blocks += [Rows([row])] if row is not None else []
    return blocks


def _form(line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, the fixed text before each value and behind the last); nothing for an object that is not flat."""
    row = _object(line)
    if not row or line.count("{") != 1:
        return (), ()
    names, pieces, end = [], [], 0
    for match in FIELD.finditer(line):
        names.append(match[1])
        pieces.append(line[end : match.start(2)])
        end = match.end()
    if names != list(row):  # a name written with escapes, or twice; a value that is a list
        return (), ()
    return tuple(names), (*pieces, line[end:].rstrip())


def _values(cells: Sequence[str]) -> list[Any] | None:
    """The values of a column; None when one of them is none."""
    try:
        values: list[Any] = json.loads(f"[{','.join(cells)}]")
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(cells) else None


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
