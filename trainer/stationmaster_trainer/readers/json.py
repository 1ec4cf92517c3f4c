"""JSON documents: a list of rows, or lists by name as Keras's `history.history` has them (`{"loss": […], "val_loss":
[…]}`)."""

from __future__ import annotations

from pathlib import Path

from ..errors import FormatError
from . import _document, _lines
from ._reading import Mapping, Reading
from ._table import Layout, Rows, reading, sample

RANK = 50
"""Place among the readers that are asked whether they know a file."""


def accepts(path: Path) -> bool:
    """Whether the file begins as a document of several lines, or is called `.json`."""
    if path.is_dir():
        return False
    text = "".join(_lines.head(path, 4096)[:40]).strip()
    return text[:1] in ("{", "[") and (path.suffix.lower() == ".json" or text[:2] == "[{")


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Reads the document; a file that holds several is read as JSON lines.

    Raises FormatError for a damaged document or one without a loss, ConfigError for a mapping that does not fit.
    """
    try:
        rows = _document.rows(_document.load(path))
    except FormatError:
        from . import jsonl  # `log.json` with one object a line is common

        lines = [line for line in _lines.head(path) if line.strip()][:2]
        if len(lines) < 2 or not jsonl.accepts(path):
            raise
        return jsonl.read(path, mapping)
    if not rows:
        raise FormatError(f"{path} holds no table: no list of rows and no lists by name.", "Give a training log.")
    layout = Layout("JSON document", sparse=True, rows=len(rows))
    return reading(path, layout, sample([Rows(rows)]), lambda found: iter([Rows(rows)]), mapping)
