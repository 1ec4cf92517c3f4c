"""Rows of a data file with their cells as they are (texts, lists, messages, images), for models that take text.

Files: jsonl, json, csv, tsv, parquet; folders: what `datasets` saved to disk, or files named after their parts (as on
the hub). Not covered: plain text and folders of image files, which `text` and `images` read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import csvfile, formats, tables
from ..errors import DataError
from ..formats import TRAIN_PARTS, VAL_PARTS
from ..packages import need
from ..table import listed

SHORT = 10
"""Characters of a word that is kept once, such as who speaks."""
TABLE_SUFFIXES = frozenset(suffix for suffix, format in formats.SUFFIXES.items() if format in formats.TABLES)


@dataclass(frozen=True, eq=False)
class Rows:
    """The content of one part."""

    name: str
    """As the person named it."""
    columns: Mapping[str, Sequence[Any]]
    """Cells as plain Python values, None where there is none."""
    numbers: np.ndarray
    """int64 (N,): number of each row in its file, counted from 1 (JSON lines: the line)."""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Column → class names, where the file itself says so (`ClassLabel` of `datasets`)."""

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, positions: np.ndarray) -> Rows:
        """The rows at these positions, in their order."""
        chosen = positions.tolist()
        columns = {name: [cells[at] for at in chosen] for name, cells in self.columns.items()}
        return Rows(self.name, columns, self.numbers[positions], self.classes)


def kind(full: Path, name: str) -> str:
    """`dataset` (saved by `datasets`), `tables` (a folder of table files), or what `formats.detect` says."""
    if full.is_dir():
        if (full / "dataset_dict.json").is_file() or (full / "dataset_info.json").is_file():
            return "dataset"
        if formats.files_below(full, TABLE_SUFFIXES) and not formats.files_below(full, formats.IMAGES):
            return "tables"
    return formats.detect(full, name)


def read(full: Path, name: str, part: str = "train") -> Rows:
    """All rows of `part` (`train` or `val`). Raises DataError for what cannot be read or holds no row."""
    form = kind(full, name)
    if form == "dataset":
        rows = _from_disk(full, name, part)
    elif form == "tables":
        rows = _joined([_file(path, f"{name}/{path.relative_to(full)}") for path in _part(full, name, part)], name)
    else:
        rows = _file(full, name)
    if not len(rows):
        raise DataError(f"{name} holds no rows.", "Name a file that holds data.")
    return rows


def _file(path: Path, name: str) -> Rows:
    format = formats.detect(path, name)
    if format == "jsonl":
        return _json(path, name)
    if format == "parquet":
        return _from_arrow(_parquet(path, name), name)
    if format not in ("csv", "tsv"):
        raise DataError(f"{name} holds {format}, which is no table of texts.", "Give jsonl, csv, parquet or txt.")
    try:
        table = csvfile.read(path, name, format)
    except UnicodeDecodeError:
        raise tables.not_utf8(path, name) from None
    columns: dict[str, Sequence[Any]] = {}
    for label, column in table.columns.items():
        codes, levels = column.texts()
        columns[label] = [levels[code] if code >= 0 else None for code in codes.tolist()]
    return Rows(name, columns, table.rows)


def _json(path: Path, name: str) -> Rows:
    columns: dict[str, list[Any]] = {}
    numbers: list[int] = []
    try:
        for number, record in tables.records(path, name):
            for label in record.keys() - columns.keys():
                columns[label] = [None] * len(numbers)
            numbers.append(number)
            for label, cells in columns.items():
                cell = record.get(label)
                talks = isinstance(cell, list) and cell and isinstance(cell[0], dict)
                cells.append(list(map(_slim, cell or ())) if talks else cell)
    except UnicodeDecodeError:
        raise tables.not_utf8(path, name) from None
    return Rows(name, columns, np.array(numbers, dtype=np.int64))


def _slim(message: Any) -> Any:
    """A message with the names and short words that all share kept once: a million conversations take half the room."""
    if not isinstance(message, dict):
        return message
    short = {key: sys.intern(cell) for key, cell in message.items() if type(cell) is str and len(cell) <= SHORT}
    return {sys.intern(key): short.get(key, cell) for key, cell in message.items()}


def _parquet(path: Path, name: str) -> Any:
    parquet = need("pyarrow.parquet", f"reading {name}")
    try:
        return parquet.ParquetFile(path).read()
    except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise DataError(f"{name} is no readable parquet file: {str(error).splitlines()[0]}", "Write it anew.") from None


def _from_disk(full: Path, name: str, part: str) -> Rows:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    datasets = need("datasets", f"reading the datasets folder {name}")
    try:
        found = datasets.load_from_disk(str(full))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{name} cannot be read as a datasets folder: {error}", "Save it anew.") from None
    if isinstance(found, Mapping):
        label = _named_part(found, name, part)
        found, name = found[label], f"{name}/{label}"
    elif part != "train":
        raise DataError(f"{name} is one data set without parts.", "Choose val_data: split, or name another folder.")
    return _from_arrow(found.with_format("arrow")[:], name)


def _from_arrow(content: Any, name: str) -> Rows:
    columns = {str(label): content[label].to_pylist() for label in content.column_names}
    return Rows(name, columns, np.arange(1, content.num_rows + 1), _class_names(content.schema.metadata))


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Names of `ClassLabel` features, also inside lists, from the metadata that `datasets` writes into its files."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    found = {}
    for label, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[str(label)] = tuple(str(each) for each in inner.get("names", ()))
    return found


def _part(full: Path, name: str, part: str) -> list[Path]:
    """Files of a part by their names (`train-0.parquet`, `data/test.jsonl`, `train/a.csv`); all when none has one."""
    files = formats.files_below(full, TABLE_SUFFIXES)
    by_part: dict[str, list[Path]] = {}
    for path in files:
        words = [*path.relative_to(full).parts[:-1], *path.stem.replace("_", "-").replace(".", "-").split("-")]
        word = next((word.lower() for word in words if word.lower() in TRAIN_PARTS + VAL_PARTS), "")
        by_part.setdefault(word, []).append(path)
    if not set(by_part) & set(TRAIN_PARTS):
        if part == "train":
            return files
        raise DataError(f"{name} has no files of a validation part.", "Choose val_data: split, or name a file.")
    return by_part[_named_part(by_part, name, part)]


def _named_part(parts: Iterable[str], name: str, part: str) -> str:
    known = list(parts)
    wanted = TRAIN_PARTS if part == "train" else VAL_PARTS
    found = next((label for label in wanted if label in known), None)
    if found is None:
        raise DataError(f"{name} has the parts {listed(known)}, none for {part}.", "Name a file or folder for it.")
    return found


def _joined(files: list[Rows], name: str) -> Rows:
    first = files[0]
    if len(files) == 1:
        return first
    for other in files[1:]:
        if other.columns.keys() != first.columns.keys():
            odd = sorted(other.columns.keys() ^ first.columns.keys())
            raise DataError(f"{other.name} and {first.name} differ in the columns {listed(odd)}.", "Name one file.")
    columns = {label: [cell for file in files for cell in file.columns[label]] for label in first.columns}
    return Rows(name, columns, np.concatenate([file.numbers for file in files]), first.classes)
