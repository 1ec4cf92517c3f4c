"""`trainer_state.json` of HuggingFace's Trainer: alone, in a checkpoint, or in a folder of checkpoints (the newest
counts, which holds the whole history)."""

from __future__ import annotations

import re
from collections.abc import Mapping as Tree
from pathlib import Path
from typing import Any

from ..errors import FormatError
from . import _document, _lines
from ._names import Row
from ._reading import Mapping, Reading
from ._table import Layout, Rows, reading, sample

NAME = "trainer_state.json"
RANK = 20
"""Place among the readers that are asked whether they know a file."""


def accepts(path: Path) -> bool:
    """Whether it is such a file, or a folder with one of them in it or in a checkpoint below."""
    return path.name == NAME if path.is_file() else newest(path) is not None


def newest(folder: Path) -> Path | None:
    """The state with the most steps: that of `checkpoint-<step>` with the highest number, or the folder's own, which
    the end of a run writes."""
    own = folder / NAME
    if _lines.inside(own):
        return own
    found = []
    for path in folder.glob(f"checkpoint-*/{NAME}"):
        match = re.fullmatch(r"checkpoint-(\d{1,18})", path.parent.name)
        if match and _lines.inside(path):
            found.append((int(match[1]), path))
    return max(found)[1] if found else None


def sides(folder: Path) -> list[Path]:
    """The checkpoints, which are no runs of their own."""
    return sorted(path for path in folder.glob("checkpoint-*") if path.is_dir())


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Reads the history. Raises FormatError for a damaged file or one without a loss, ConfigError for a mapping that
    does not fit."""
    file = path if path.is_file() else newest(path)
    if file is None:
        raise FormatError(f"{path} holds no {NAME}.", "Give the output folder of the Trainer.")
    document = _document.load(file)
    history = document.get("log_history") if isinstance(document, Tree) else None
    if not isinstance(history, list):
        raise FormatError(f"{file} has no log_history.", "Give a state that the Trainer wrote.")
    rows: list[Row] = [row for row in history if isinstance(row, Tree) and "train_runtime" not in row]
    layout = Layout("Trainer state", sparse=True, rows=len(rows))
    found = reading(file, layout, sample([Rows(rows)]) or [{}], lambda _: iter([Rows(rows)]), mapping)
    found.path = file
    found.total_steps = _whole(document.get("max_steps"))
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
