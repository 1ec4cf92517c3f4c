"""Logs of the run's own processes: a stamped line of ours, the last line of another's, and bounds for a raw one."""

from __future__ import annotations

import os
import time
from pathlib import Path

LIMIT = 16 << 20
"""Bytes above which a log is cut."""
HEAD = 1 << 20
TAIL = 4 << 20


def cap(path: Path, limit: int = LIMIT, head: int = HEAD, tail: int = TAIL) -> bool:
    """Cuts the middle out of a log larger than `limit`; whether it did. The writer must append (O_APPEND).

    What is written in the microseconds between reading the tail and cutting may be lost.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        if size <= limit:
            return False
        end = os.pread(descriptor, tail, size - tail)
        os.ftruncate(descriptor, head)
        note = f"\n[stationmaster: {size - head - tail} bytes were left out here]\n"
        os.write(descriptor, note.encode() + end)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def say(line: str) -> None:
    """One line, with the time, into this process's own log, which is its standard error."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    try:
        os.write(2, f"{stamp} {line}\n".encode(errors="replace"))
    except OSError:  # a full disk: there is nowhere left to complain
        pass


def last_line(path: Path, limit: int = 300) -> str:
    """The last line that is not empty, at most `limit` characters; empty for a missing or empty log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")
