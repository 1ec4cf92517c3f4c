"""The memory of this machine: what a process can still get (less in a container), and what this process holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

STATUS = Path("/proc/self/status")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
_NEW = ("memory.max", "memory.current", "inactive_file")
_OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Limit and use of a group, and the line of `memory.stat` with what is cached of files: version 2, version 1."""


def available() -> int | None:
    """Bytes that the system calls available, at most what a control group leaves; None where unknown."""
    known = [amount for amount in (_system(), _group()) if amount is not None]
    return min(known, default=None)


def resident() -> int:
    """Bytes of this process in memory, libraries included; 0 where the system does not tell."""
    return _own("VmRSS") or 0


def peak() -> int | None:
    """Most bytes that this process had in memory so far; None where the system does not tell.

    Not `ru_maxrss`: on Linux that begins with what the process that started this one had.
    """
    return _own("VmHWM")


def _own(name: str) -> int | None:
    try:
        lines = (line.partition(":") for line in STATUS.read_text("ascii", "replace").splitlines())
        return next(int(value.split()[0]) * 1024 for key, _, value in lines if key == name)
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _system() -> int | None:
    try:
        text = MEMINFO.read_text("ascii")
        kilobytes = {key: value.split()[0] for key, _, value in (line.partition(":") for line in text.splitlines())}
        return int(kilobytes["MemAvailable"]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _group() -> int | None:
    """The tightest of this process's group and those around it; what is cached of files is given back when needed."""
    left = [left for folder, names in _folders() if (left := _left(folder, *names)) is not None]
    return min(left, default=None)


def _folders() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders of the memory controller, the innermost first, with the names of what stands in them."""
    try:
        lines = [line.split(":", 2) for line in CGROUP.read_text().splitlines()]
    except (OSError, ValueError):
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            root, names = CGROUPS, _NEW
        elif "memory" in controllers.split(","):
            root, names = CGROUPS / "memory", _OLD
        else:
            continue
        place = root / path.lstrip("/")
        for folder in (place, *place.parents):
            if folder.is_relative_to(root):
                yield folder, names


def _left(folder: Path, limit: str, used: str, files: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        now = int((folder / used).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
        cached = sum(int(value) for key, _, value in (line.partition(" ") for line in lines) if key == files)
        return None if most == "max" else max(0, int(most) - now + cached)
    except (OSError, ValueError):
        return None
