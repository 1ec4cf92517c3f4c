"""W&B's offline files, read without W&B: `run-<id>.wandb`, its run folder, and the history and summary that older
versions left as JSON.

The file is a LevelDB log (blocks of 32 KiB, records in fragments, each with a CRC-32) of protocol buffers; the history
records hold one row each.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import FormatError
from . import _lines, _wire, jsonl
from . import json as documents
from ._names import Row
from ._reading import Mapping, Reading
from ._table import SAMPLE, Layout, Rows, reading, sample

MARK = b":W&B"
BLOCK, HEAD = 32768, 7
"""Bytes of a block, of the file's own header and of a fragment's."""
FRAGMENT = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
LONGEST = 1 << 26
"""Bytes of the longest record that is put together."""
TOGETHER = 4000
RANK = 30
"""Place among the readers that are asked whether they know a file or folder."""


def accepts(path: Path) -> bool:
    """Whether it is such a file, or the folder of one run."""
    if path.is_dir():
        return _file(path) is not None
    try:
        _lines.plain(path)
        with path.open("rb") as file:
            return file.read(4) == MARK or path.suffix == ".wandb"
    except (OSError, FormatError):
        return False


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Reads the history. Raises FormatError for a damaged file or one without a loss, ConfigError for a mapping that
    does not fit."""
    file = _file(path) if path.is_dir() else path
    if file is None:
        raise FormatError(f"{path} holds no W&B run.", "Give a folder such as wandb/offline-run-….")
    if file.suffix in (".jsonl", ".json"):
        read_file = jsonl.read if file.suffix == ".jsonl" else documents.read
        found = read_file(file, mapping)
        found.source, found.path = f"W&B {file.stem.rpartition('-')[2]}", file
        return found
    head = sample(_blocks(file, Reading("", {}, iter(()))))
    if not head:
        raise FormatError(f"{file} holds no history: nothing was logged, or it is damaged.", "Give another run.")
    size = file.stat().st_size
    layout = Layout("W&B offline file", sparse=True, rows=size / _bytes_a_row(file, len(head)))
    found = reading(file, layout, head, lambda one: _blocks(file, one), mapping)
    found.path = file
    return found


def _file(folder: Path) -> Path | None:
    """The best file of a run's folder: the whole record, else the history, else the last figures."""
    for pattern in ("run-*.wandb", "wandb-history.jsonl", "files/wandb-history.jsonl"):
        found = sorted(path for path in folder.glob(pattern) if _lines.inside(path))
        if found:
            return found[-1]
    summaries = [folder / "wandb-summary.json", folder / "files" / "wandb-summary.json"]
    return next((path for path in summaries if _lines.inside(path)), None)


def _bytes_a_row(file: Path, rows: int) -> float:
    """Bytes of the file per row of history, from its beginning; rows lie about evenly."""
    if rows < SAMPLE:
        return file.stat().st_size / rows
    for count, (offset, _) in enumerate(_history(file, Reading("", {}, iter(()))), 1):
        if count == SAMPLE:
            return max(1.0, offset / SAMPLE)
    return 1.0


def _blocks(file: Path, found: Reading) -> Iterator[Rows]:
    rows: list[Row] = []
    for _, row in _history(file, found):
        rows.append(row)
        if len(rows) == TOGETHER:
            yield Rows(rows)
            rows = []
    yield Rows(rows)


def _history(file: Path, found: Reading) -> Iterator[tuple[int, Row]]:
    """(offset, row) of each history record."""
    for offset, record in _records(file, found):
        try:
            for number, value in _wire.fields(record):
                if number == 2:
                    yield offset, _row(_wire.submessage(value))
        except ValueError:
            found.skipped += 1


def _row(history: bytes) -> Row:
    row: dict[str, Any] = {}
    step = None
    for number, value in _wire.fields(history):
        if number == 1:
            name, cell = _item(_wire.submessage(value))
            row[name] = cell
        elif number == 2:
            step = next((inner for at, inner in _wire.fields(_wire.submessage(value)) if at == 1), 0)
    if step is not None:
        row.setdefault("_step", _wire.signed(step) if isinstance(step, int) else None)
    return jsonl.flat(row) if any(isinstance(cell, dict) for cell in row.values()) else row


def _item(item: bytes) -> tuple[str, Any]:
    """(name, value) of one figure; nested names are joined by `/`."""
    names: list[str] = []
    cell: Any = None
    for number, value in _wire.fields(item):
        if number in (1, 2):
            names.append(_wire.submessage(value).decode("utf-8", "replace"))
        elif number in (8, 16):
            cell = _json(_wire.submessage(value))
        elif number == 5 and isinstance(value, int):
            cell = _wire.zigzag(value)
        elif number == 6 and isinstance(value, bytes) and len(value) == 8:
            cell = struct.unpack("<d", value)[0]
        elif number == 7:
            cell = _wire.submessage(value).decode("utf-8", "replace")
    return "/".join(name for name in names if name), cell


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _records(file: Path, found: Reading) -> Iterator[tuple[int, bytes]]:
    """(offset, record) of the log; damaged fragments are counted, their blocks left at the next block's start."""
    _lines.plain(file)
    try:
        with file.open("rb") as opened:
            data, offset = opened.read(BLOCK), HEAD
            if data[:4] != MARK:
                raise FormatError(f"{file} does not begin as a W&B file.", "It may be damaged.")
            parts: list[bytes] = []
            start = 0
            while data:
                for kind, content in _fragments(data, offset, found):
                    if kind in (FULL, FIRST):
                        parts = []
                    elif not parts:
                        continue  # the beginning of this record was damaged
                    parts.append(content)
                    if kind in (FULL, LAST):
                        yield start + len(data), b"".join(parts)
                        parts = []
                    elif len(parts) * BLOCK > LONGEST:
                        parts = []
                start += len(data)
                data, offset = opened.read(BLOCK), 0
    except OSError as error:
        raise FormatError(f"{file} cannot be read: {error.strerror or error}.") from None


def _fragments(block: bytes, place: int, found: Reading) -> Iterator[tuple[int, bytes]]:
    """(kind, content) of the intact fragments of a block."""
    while place + HEAD <= len(block):
        check, length, kind = FRAGMENT.unpack_from(block, place)
        if kind == 0 and length == 0:
            return  # zeros to the block's end
        stop = place + HEAD + length
        if stop > len(block) or not FULL <= kind <= LAST:
            found.skipped += 1
            return
        content = block[place + HEAD : stop]
        if zlib.crc32(content, zlib.crc32(bytes((kind,)))) != check:
            found.skipped += 1
            return
        yield kind, content
        place = stop
