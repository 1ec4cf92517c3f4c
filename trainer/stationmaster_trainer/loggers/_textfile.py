"""A text file of rows that is exact: cut back to its mark when opened, rewound by a whole replacement."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import FormatError


class TextFile:
    """Appends lines; `size` is the mark. Raises FormatError when the file is shorter than its mark."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = os.fstat(self._descriptor).st_size
        if found < size:
            os.close(self._descriptor)
            raise FormatError(f"{path} has {found} bytes, {size} were written")
        os.ftruncate(self._descriptor, size)
        self.size = size
        self._waiting: list[bytes] = []

    def append(self, line: bytes) -> None:
        self._waiting.append(line)

    def flush(self) -> int:
        """Writes what waits, all of it or an exception; returns the size."""
        data = b"".join(self._waiting)
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], self.size + done)
        self.size += len(data)
        self._waiting.clear()
        return self.size

    def replace(self, lines: Callable[[Iterable[bytes]], Iterable[bytes]]) -> None:
        """Replaces the whole content by what `lines` makes of it; readers see the old file or the new one."""
        self.flush()
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as new, self.path.open("rb") as old:
                new.writelines(lines(old))
                new.flush()
                os.fsync(new.fileno())
                size = new.tell()
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.size = size

    def close(self) -> None:
        os.close(self._descriptor)
