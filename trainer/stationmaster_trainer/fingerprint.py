"""One hash over the content of the data files, the same before the start and in the worker; standard library only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .errors import DataError

CHUNK = 1 << 20


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 over the content of every data file, in hex. A folder counts with all its files and their relative names.

    The order of `paths` counts (training data before validation data); their own names do not, so that a project may
    be moved. Hidden files and folders are left out, as the readers leave them out. DataError names an unreadable file.
    """
    digest = hashlib.sha256()
    for path in paths:
        for name, file in members(path):
            digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
            digest.update(_file(file))
        digest.update(b"\1")
    return digest.hexdigest()


def signature(paths: Iterable[Path]) -> str:
    """Hash over names, sizes, inodes and times instead of content: equal means unchanged, else look at the content.

    The change time cannot be set back by ordinary means, so that an edit which restores size and date is still seen.
    """
    digest = hashlib.sha256()
    for path in paths:
        for name, file in members(path):
            try:
                facts = file.stat()
            except OSError as error:
                raise _unreadable(file, error) from None
            stamp = (facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)
            digest.update(f"{name}\0{stamp}\n".encode("utf-8", "surrogateescape"))
        digest.update(b"\1")
    return digest.hexdigest()


def members(path: Path) -> list[tuple[str, Path]]:
    """The files of a data file or folder with their names relative to it, sorted; a single file has the name ``."""
    if not path.is_dir():
        return [("", path)]
    found = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found += [Path(folder) / name for name in files if not name.startswith(".")]
    return sorted((file.relative_to(path).as_posix(), file) for file in found)


def _file(path: Path) -> bytes:
    digest = hashlib.sha256()
    if path.exists() and not path.is_file():  # a FIFO would be waited for without end
        raise DataError(f"{path} is neither a file nor a folder.", "Give a data file or a folder of them.")
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from None
    return digest.digest()


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(f"the data file {path} cannot be read: {reason}.", "Check the path and its permissions.")
