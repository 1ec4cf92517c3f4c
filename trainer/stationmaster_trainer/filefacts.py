"""What a data file holds, as `FileFacts`: format, rows, columns, classes; or the problem it has."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from . import formats, images, tabular, target, text, tokens
from .columns import Column
from .errors import DataError
from .facts import ColumnFacts, FileFacts
from .table import Table

MAX_CLASSES = 100
"""Most classes that are listed with their counts."""
MAX_UNIQUE = 1000
"""Different values are counted up to this many."""
CHAT = (
    {"messages"}, {"conversations"}, {"prompt", "completion"}, {"prompt", "response"}, {"instruction", "output"},
    {"question", "answer"}, {"text"},
)  # fmt: skip
"""Columns of texts that language models of Transformers are trained on."""


def look_at(path: str, project_dir: Path) -> FileFacts:
    """Reads the file or folder `path` of the project. What makes it unusable stands in `problem`."""
    format, size = "", 0
    try:
        full = formats.locate(project_dir, path)
        size = _bytes(full)
        format = formats.detect(full, path)
        if format == "images":
            return _images(path, full, size)
        if format == "text":
            return _text(path, full, size)
        return _table(path, tabular.read(full, path, format), format, size)
    except DataError as error:
        return FileFacts(path, format, 0, size, problem=str(error))


def _table(path: str, table: Table, format: str, size: int) -> FileFacts:
    columns = tuple(_column(column) for column in table.columns.values())
    if tokens.alone(table):
        facts: dict[str, Any] = {"task": "language_modeling", "task_why": "the data are tokens without a target"}
    else:
        facts = _aim(table)
    if facts.get("problem") and any(names <= {label.lower() for label in table.columns} for names in CHAT):
        why = "texts for a language model of Transformers (conversations, or prompts with answers)"
        facts = {"task": "language_modeling", "task_why": why}
    shapes = [table.columns[name].values.shape[1:] for name in table.inputs]
    return FileFacts(path, format, len(table), size, columns, shape=shapes[0] if shapes else (), **facts)


def _aim(table: Table) -> dict[str, Any]:
    """Target, task and classes, as far as they are recognised; the problem otherwise."""
    try:
        aim = target.find(table, None, None)
    except DataError as error:
        return {"problem": str(error)}
    facts: dict[str, Any] = {"target": aim.name, "target_why": aim.why, "task": aim.task, "task_why": aim.task_why}
    column = table.columns[aim.columns[0]]
    if aim.kind == "class" and column.kind != "list":
        codes, levels = column.texts()
        counts = np.bincount(codes[codes >= 0], minlength=len(levels)).tolist()
        facts["classes"] = dict(list(zip(levels, counts, strict=True))[:MAX_CLASSES])
    return facts


def _column(column: Column) -> ColumnFacts:
    gone = column.missing()
    low = high = None
    if column.kind == "number" and not gone.all():
        present = column.values[~gone] if gone.any() else column.values
        low, high = float(present.min()), float(present.max())
    return ColumnFacts(column.name, column.kind, int(gone.sum()), _unique(column), low, high)


def _unique(column: Column) -> int | None:
    """Number of different values; None when there are more than `MAX_UNIQUE`, or for lists."""
    if column.kind in ("list", "object"):
        return None
    start = column.values[: 20 * MAX_UNIQUE]  # most columns with many values show it early
    if len(np.unique(start)) > MAX_UNIQUE + 1:
        return None
    many = column.unique()
    return many if many <= MAX_UNIQUE else None


def _images(path: str, full: Path, size: int) -> FileFacts:
    folder = images.find(full, path)
    spec, note = images.measure(folder, size=None, scale=True, channels_last=False)
    counts = Counter(folder.labels)
    return FileFacts(
        path,
        "images",
        len(folder.paths),
        size,
        (ColumnFacts("image", "image"), ColumnFacts("folder", "text", unique=len(counts))),
        target="folder",
        target_why="each image's sub-folder",
        task="classification",
        task_why=f"a folder with {len(counts)} sub-folders of images; {note}",
        classes=dict(sorted(counts.items())[:MAX_CLASSES]),
        shape=spec.shape,
        problem="" if len(counts) > 1 else f"{path} has one class only ({folder.labels[0]!r}).",
    )


def _text(path: str, full: Path, size: int) -> FileFacts:
    found = text.read(full, path)
    return FileFacts(
        path,
        "text",
        found.content.count("\n") + (not found.content.endswith("\n")),
        size,
        task="language_modeling",
        task_why=f"plain text of {len(found.content):,} characters: the next character is predicted",
    )


def _bytes(full: Path) -> int:
    if not full.is_dir():
        return full.stat().st_size
    return sum((Path(root) / name).stat().st_size for root, _, names in os.walk(full) for name in names)
