"""SHA-256 over the content of the data, so that an approval and a resumed run are bound to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK = 4 << 20


def of_paths(paths: Iterable[Path]) -> str:
    """Over the contents of files in this order, each once; of a folder over its sorted relative paths and contents."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(paths):
        for relative, file in _files(path):
            digest.update(f"{relative}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            _update(digest, file)
    return digest.hexdigest()


def _files(path: Path) -> list[tuple[str, Path]]:
    """A file alone stands without its name: renaming it changes nothing."""
    if not path.is_dir():
        return [("", path)]
    found = []
    for root, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]  # a file viewer leaves such things
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted((file.relative_to(path).as_posix(), file) for file in found if file.is_file())


def _update(digest: Any, path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
