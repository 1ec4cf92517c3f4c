"""Rows inside one JSON document: a list of objects, or lists side by side by name, at the top or one level below."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FormatError
from . import _lines
from ._cells import Row, number
from .jsonl import flat

MOST_BYTES = 1 << 28
"""Bytes of the largest document that is taken: it is held in memory as a whole."""


def load(path: Path) -> Any:
    """The parsed document. Raises FormatError for one that is damaged, too large or no plain file."""
    _lines.plain(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise FormatError(f"{path} has {size:,} bytes, more than a JSON document may have here.", "Give JSON lines.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no readable JSON document: {error}.", "It may be cut off or damaged.") from None
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None


def rows(document: Any) -> list[Row]:
    """The longest table in the document; empty when there is none."""
    found = [_table(document)]
    if isinstance(document, Mapping):
        found += [_table(part) for part in document.values()]
    return max(found, key=len)


def _table(part: Any) -> list[Row]:
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [flat(dict(row)) for row in part if isinstance(row, Mapping)]
    if not isinstance(part, Mapping):
        return []
    columns = {str(name): cells for name, cells in part.items() if isinstance(cells, list)}
    columns = {name: cells for name, cells in columns.items() if any(number(cell) is not None for cell in cells)}
    if columns:
        longest = max(map(len, columns.values()))
        return [{n: c[place] for n, c in columns.items() if place < len(c)} for place in range(longest)]
    return [flat(dict(part))] if any(number(cell) is not None for cell in part.values()) else []
