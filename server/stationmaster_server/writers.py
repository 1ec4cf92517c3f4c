"""Which process is writing a file now: found by the files that processes have open, in /proc, and only looked at.

Linux; elsewhere, and for processes of other people, nothing is found and the age of the file speaks. Not covered: a
program that opens its log anew for every line, unless it runs inside the project.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stationmaster_trainer import process

from .answer import plain

PROC = process.PROC
MAX_SECONDS = 1.0
"""For all processes of the machine."""
MAX_FILES = 4_096
"""Open files of one process that are looked at."""
CPU_SECONDS = 0.2
"""Between two looks at a process's CPU time."""
_STATES = {"T": "stopped by a signal", "t": "held by a debugger", "D": "waiting for a device", "Z": "ended"}


@dataclass(frozen=True)
class Writer:
    """A process that writes a log, as far as can be seen from outside."""

    pid: int
    command: str
    """Its command line, cleaned and cut."""
    started: float
    """Wall clock of its start; 0 where unknown."""
    sure: bool
    """Whether it has the file open for writing; else it only runs Python in the project."""
    cpu: float | None = None
    """Share of one core over the last moment: 1.0 is one core."""
    state: str = ""
    """Why it may not get on, in words; empty for one that runs or sleeps."""

    def __str__(self) -> str:
        sure = "" if self.sure else "perhaps "
        parts = [f"{sure}pid {self.pid} ({self.command})"]
        parts += [f"{100 * self.cpu:.0f} % CPU"] if self.cpu is not None else []
        return ", ".join([*parts, self.state] if self.state else parts)


def find(files: Iterable[Path], project: Path | None = None) -> dict[Path, Writer]:
    """File → the process that has it open for writing; under `project` one that runs Python in there, if any.

    Takes at most `MAX_SECONDS`, and a moment more to see how busy the processes are.
    """
    wanted = {os.path.realpath(file): file for file in files}
    found: dict[Path, Writer] = {}
    deadline = time.monotonic() + MAX_SECONDS
    for pid in _pids():
        if time.monotonic() > deadline:
            break
        for target in _written(pid) if wanted else ():
            if target in wanted:
                found.setdefault(wanted[target], _writer(pid, True))
        if project is not None and project not in found and _trains_in(pid, project):
            found[project] = _writer(pid, False)
    return _busy(found)


def _pids() -> Iterator[int]:
    """Every process but this one, the newest first."""
    yield from (pid for pid in sorted(process.pids(), reverse=True) if pid != os.getpid())


def _written(pid: int) -> Iterator[str]:
    """Paths of the plain files that a process has open for writing."""
    folder = f"{PROC}/{pid}/fd"
    try:
        names = [entry.name for entry, _ in zip(os.scandir(folder), range(MAX_FILES), strict=False)]
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
            if target.startswith("/") and not target.startswith(("/dev/", "/proc/")) and _for_writing(pid, name):
                yield target
        except OSError:
            continue


def _for_writing(pid: int, name: str) -> bool:
    with open(f"{PROC}/{pid}/fdinfo/{name}", encoding="ascii", errors="replace") as file:
        flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _trains_in(pid: int, project: Path) -> bool:
    """Whether it is a Python that runs a script and whose folder lies in the project."""
    try:
        cwd = os.readlink(f"{PROC}/{pid}/cwd")
    except OSError:
        return False
    words = _words(pid)
    if not words or not (cwd == str(project) or cwd.startswith(f"{project}{os.sep}")):
        return False
    runs = any(word.endswith(".py") and "stationmaster" not in word for word in words[1:6])
    return runs and "python" in words[0].rpartition("/")[2]


def _words(pid: int) -> list[str]:
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            return file.read(4096).decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _writer(pid: int, sure: bool) -> Writer:
    words = _words(pid)
    name = [words[0].rpartition("/")[2], *words[1:]] if words and words[0] else ["?"]
    return Writer(pid, plain(" ".join(name), 100), _started(pid), sure, state=_STATES.get(process.state(pid), ""))


def _started(pid: int) -> float:
    identity = process.identify(pid)
    if not identity.start_ticks:
        return 0.0
    try:
        up = float((PROC / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.time() - up + identity.start_ticks / os.sysconf("SC_CLK_TCK")


def _busy(found: dict[Path, Writer]) -> dict[Path, Writer]:
    """The same with what each process used of the processors in a moment."""
    pids = {writer.pid for writer in found.values()}
    if not pids:
        return found
    before, began = {pid: process.cpu_seconds(pid) for pid in pids}, time.monotonic()
    time.sleep(CPU_SECONDS)
    took = time.monotonic() - began
    used = {pid: max(0.0, process.cpu_seconds(pid) - before[pid]) / took for pid in pids}
    return {path: replace(writer, cpu=round(used[writer.pid], 2)) for path, writer in found.items()}
