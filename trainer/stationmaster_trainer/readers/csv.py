"""Tables in text: CSV with comma, semicolon or tab, as Lightning, Keras, Ultralytics and people write them.

Names may be padded with blanks, rows may be sparse (Lightning writes train and validation figures in rows of their
own), quotes are allowed. A row with another number of cells than the header is counted and skipped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..errors import FormatError
from . import _lines
from ._cells import filled, number
from ._names import KNOWN, Row, normalise
from ._reading import Mapping, Reading
from ._table import SAMPLE, Block, Columns, Layout, Rows, reading

DELIMITERS = ",\t;"
TOGETHER = 4000
"""Rows of one block."""
MOST_COLUMNS = 10_000
DIALECTS = (
    ("Ultralytics results", {"epoch", "train_box_loss", "val_box_loss"}),
    ("Ultralytics results", {"epoch", "train_loss", "val_loss", "lr_pg0"}),
    ("stationmaster metrics", {"kind", "step", "train_loss", "train_learning_rate"}),
    ("Lightning CSV log", {"epoch", "step", "train_loss"}),
    ("Lightning CSV log", {"epoch", "step", "train_loss_step"}),
    ("Lightning CSV log", {"epoch", "step", "train_loss_epoch"}),
    ("Keras CSV log", {"epoch", "loss", "val_loss"}),
)
"""What a table is called, by the columns that tell it."""
RANK = 70
"""Place among the readers that are asked whether they know a file."""


def accepts(path: Path) -> bool:
    """Whether the file begins with a line of names and goes on with rows of as many cells."""
    if path.is_dir():
        return False
    lines = [line for line in _lines.head(path) if line.strip()][:20]
    return bool(lines) and _header(lines, path.suffix.lower() in (".csv", ".tsv")) is not None


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Opens the table and names its columns; records follow as they are read.

    Raises FormatError for a file that cannot be read or holds no loss, ConfigError for a mapping that does not fit.
    """
    lines = [line for line in _lines.head(path) if line.strip()]
    header = _header(lines[:20], loose=True)
    if header is None:
        raise FormatError(f"{path} is no table with a line of names.", "Give a CSV file whose first row names columns.")
    delimiter, names = header
    head = list(islice(_rows(path, delimiter, names), SAMPLE))
    layout = Layout(_dialect(names, delimiter), sparse=True, rows=_lines.expected(path), lines=True)
    return reading(path, layout, head, lambda found: _blocks(path, delimiter, names, found), mapping)


def _header(lines: Sequence[str], loose: bool) -> tuple[str, list[str]] | None:
    """(delimiter, names) of a table; `loose` takes a header whose names say nothing."""
    best: tuple[str, list[str]] | None = None
    for delimiter in DELIMITERS:
        rows = _cells(lines, delimiter)
        names = [cell.strip().lstrip("\ufeff") for cell in rows[0]] if rows else []
        if len(names) < 2 or len(names) > MOST_COLUMNS or len(set(names)) < len(names) - names.count(""):
            continue
        if any(number(name) is not None for name in names):
            continue
        if len(rows) > 1 and not any(len(row) == len(names) for row in rows[1:]):
            continue
        says = any(normalise(name) in KNOWN or "loss" in name.lower() for name in names)
        figures = sum(number(cell) is not None or not filled(cell) for row in rows[1:4] for cell in row)
        if not loose and not (says and 2 * figures >= sum(map(len, rows[1:4]))):
            continue
        if best is None or len(names) > len(best[1]):
            best = (delimiter, [name or f"column {place}" for place, name in enumerate(names, 1)])
    return best


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of some lines; a line that is no row (an open quote, a NUL) ends them."""
    found: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
            found.append(row)
    except csv.Error:
        pass
    return found


def _rows(path: Path, delimiter: str, names: Sequence[str]) -> Iterator[Row]:
    for block in _blocks(path, delimiter, names, Reading("", {}, iter(()))):
        yield from map(block.row, range(block.size))


def _blocks(path: Path, delimiter: str, names: Sequence[str], found: Reading) -> Iterator[Block]:
    """Blocks of whole columns behind the header; a header that stands again (a resumed run) is left out."""
    for lines, dropped in _lines.blocks(path, found):
        found.skipped += dropped
        if not lines:
            yield Rows([])
        for start in range(0, len(lines), TOGETHER):
            part = list(filter(None, lines[start : start + TOGETHER]))
            columns = _plain(part, delimiter, names)
            if columns:
                yield Columns(names, columns)
                continue
            rows = _cells(part, delimiter)
            found.skipped += max(0, len(part) - len(rows))
            if set(map(len, rows)) != {len(names)}:
                found.skipped += sum(1 for row in rows if len(row) != len(names) and any(map(str.strip, row)))
                rows = [row for row in rows if len(row) == len(names)]
            columns = list(map(list, zip(*rows, strict=True)))
            if columns and any(names[0] in cell for cell in columns[0] if not cell[:1].isdigit()):
                rows = [row for row in rows if not all(map(_same, row, names))]
                columns = list(map(list, zip(*rows, strict=True)))
            if columns:
                yield Columns(names, columns)


def _plain(lines: Sequence[str], delimiter: str, names: Sequence[str]) -> list[list[str]] | None:
    """The columns of lines without quotes, blanks or another header among them, all of them whole rows: these need no
    parser."""
    text = f"{delimiter}\n{delimiter}".join(lines)
    if '"' in text or " " in text or not text or names[0] in text:
        return None
    cells = text.split(delimiter)
    width = len(names) + 1
    ends = cells[len(names) :: width]
    if len(cells) != width * len(lines) - 1 or ends.count("\n") != len(lines) - 1:
        return None
    return [cells[place::width] for place in range(len(names))]


def _same(cell: str, name: str) -> bool:
    return cell.strip().lstrip("\ufeff") == name or (not cell.strip() and name.startswith("column "))


def _dialect(names: Sequence[str], delimiter: str) -> str:
    plain = {normalise(name) for name in names}
    for name, columns in DIALECTS:
        if columns <= plain:
            return name
    return "TSV table" if delimiter == "\t" else "CSV table"
