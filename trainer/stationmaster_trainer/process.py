"""Processes that cannot be confused with others: identity beyond a pid, state, descendants, the lock of liveness.

Linux reads /proc; elsewhere start ticks and states are unknown (0 and ""), and only the pid and the lock speak.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from .contract import Identity

PROC = Path("/proc")


def boot_id() -> str:
    """Changes with every start of the machine; empty where the system has none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identify(pid: int, token: str = "") -> Identity:  # nosec B107 # empty: no token is known
    """What tells this process from a later one of the same pid."""
    return Identity(pid, _start_ticks(pid), boot_id(), token)


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs: same boot, same start, no zombie."""
    if identity.pid <= 0 or identity.boot_id != boot_id():
        return False
    if not PROC.joinpath("self").exists():
        return _answers(identity.pid)
    return _start_ticks(identity.pid) == identity.start_ticks and state(identity.pid) not in ("", "Z", "X")


def state(pid: int) -> str:
    """One letter of /proc/<pid>/stat (R, S, D, T stopped, Z zombie, …); empty when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def cpu_seconds(pid: int) -> float:
    """CPU time that the process used so far, user and system; 0 where unknown."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def pids() -> list[int]:
    """Every process of the machine; empty where the system has no /proc."""
    try:
        return [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, children before grandchildren; empty where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for other in pids():
        fields = _stat(other)
        if fields:
            parents.setdefault(int(fields[1]), []).append(other)
    found = list(parents.get(pid, ()))
    for child in found:  # grows while it is walked: breadth first
        found.extend(parents.get(child, ()))
    return found


def parent(pid: int) -> int:
    """Process id of the parent; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def chain(top: int, pid: int) -> list[int]:
    """The processes from `top` down to its descendant `pid`; empty when that is none of its."""
    found = [pid]
    while found[-1] != top:
        above = parent(found[-1])
        if above <= 1 or len(found) > 1000:
            return []
        found.append(above)
    return found[::-1]


def tree_cpu_seconds(pid: int) -> float:
    """CPU time of the process and of its living descendants; looking costs some milliseconds."""
    return cpu_seconds(pid) + sum(map(cpu_seconds, descendants(pid)))


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal; False where that cannot be known."""
    try:
        lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def become_subreaper() -> bool:
    """Makes orphans below this process its children (Linux), so that no process of a worker gets out of sight."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) == 0)  # PR_SET_CHILD_SUBREAPER
    except (ImportError, OSError, AttributeError):
        return False


def has_variable(pid: int, setting: str) -> bool:
    """Whether `NAME=value` stood in the environment that the process was started with."""
    try:
        return setting.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def take_lock(path: Path, wait_seconds: float = 0.0) -> int | None:
    """Takes the exclusive lock of a file; its descriptor (close-on-exec), or None when another process keeps it.

    Readers hold the lock for microseconds when they look at it, so a taker should wait a little.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. A missing file is a free lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # by name: a child forked meanwhile shares this descriptor
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third on (state first): the name before them may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _start_ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
