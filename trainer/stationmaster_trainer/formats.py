"""What kind of data a path holds, by its suffix or by what a folder contains, with an error for everything else."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from .errors import DataError
from .table import closest, listed

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl", ".npz": "npz", ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
"""File suffix → format."""
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Suffixes that are taken for images."""
TRAIN_PARTS = ("train", "training")
VAL_PARTS = ("val", "valid", "validation", "test", "testing")
TEST_PARTS = ("test", "testing")
PARTS = {"train": TRAIN_PARTS, "val": VAL_PARTS, "test": TEST_PARTS}
"""Sub-folders, or name parts of npz arrays, that hold a part of the data; the first that exists is taken."""
TABLES = ("csv", "tsv", "parquet", "jsonl")
_SUPPORTED = (
    "Supported: csv, tsv, parquet, jsonl, npz, txt, a folder with one sub-folder of images per class, a folder of txt."
)


def locate(project_dir: Path, path: str) -> Path:
    """The absolute path. Raises DataError when nothing is there or it may not be read."""
    full = project_dir / path
    try:
        if full.is_dir():
            os.listdir(full)
        else:
            os.close(os.open(full, os.O_RDONLY | os.O_NONBLOCK))  # a FIFO must not make us wait
    except FileNotFoundError:
        raise _not_there(full, path) from None
    except NotADirectoryError:
        raise _not_there(full, path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Give this user the right to read it.") from None
    return full


def detect(full: Path, path: str) -> str:
    """`csv`, `tsv`, `parquet`, `jsonl`, `npz`, `images` or `text`. Raises DataError for anything else."""
    if full.is_dir():
        return _detect_folder(full, path)
    if not full.is_file():
        raise DataError(f"{path} is no regular file.", _SUPPORTED)
    if full.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes).", "Name a file that holds data.")
    format = SUFFIXES.get(full.suffix.lower())
    if format is None:
        seen = f"has the suffix {full.suffix!r}" if full.suffix else "has no suffix"
        raise DataError(f"{path} {seen}, which is no data format known here.", _SUPPORTED)
    return format


def part_folder(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The sub-folder that is named after one of `parts`, upper and lower case ignored."""
    names = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((names[part] for part in parts if part in names), None)


def files_below(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files with one of these suffixes at any depth, hidden ones left out, sorted by their relative path."""
    found: list[tuple[tuple[str, ...], Path]] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        base = Path(root)
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                path = base / name
                found.append((path.relative_to(folder).parts, path))
    return [path for _, path in sorted(found)]


def _detect_folder(folder: Path, path: str) -> str:
    kinds: Counter[str] = Counter()
    for _, _, names in os.walk(folder):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            kinds["images" if suffix in IMAGES else SUFFIXES.get(suffix, "")] += 1
        if sum(kinds.values()) > 10_000:
            break
    if kinds["images"]:
        return "images"
    if kinds["text"] and not any(kinds[format] for format in (*TABLES, "npz")):
        return "text"
    tables = sum(kinds[format] for format in (*TABLES, "npz"))
    if tables:
        example = next(
            (str(file.relative_to(folder)) for file in sorted(folder.iterdir()) if SUFFIXES.get(file.suffix.lower())),
            "",
        )
        raise DataError(
            f"{path} is a folder with {tables} data file{'s' if tables > 1 else ''}, not a file.",
            f"Name one file, for example {os.path.join(path, example)}." if example else "Name one file in it.",
        )
    raise DataError(f"the folder {path} holds no data: {sum(kinds.values())} files, none of a known kind.", _SUPPORTED)


def _not_there(full: Path, path: str) -> DataError:
    try:
        names = sorted(entry.name for entry in os.scandir(full.parent) if not entry.name.startswith("."))
    except OSError:
        return DataError(f"{path} does not exist, nor does its folder {full.parent}.", "Check the path.")
    stems = {name.partition(".")[0]: name for name in names}
    close = stems.get(closest(full.name.partition(".")[0], stems) or "")
    way_out = (
        f"Did you mean {Path(path).with_name(close)}?"
        if close
        else f"{full.parent} holds: {listed(names, 15) or 'nothing'}."
    )
    return DataError(f"{path} does not exist.", way_out)
