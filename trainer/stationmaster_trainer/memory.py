"""The memory of this machine that a process can still get."""

from __future__ import annotations


def available() -> int | None:
    """Bytes that the system calls available; None where it does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kilobytes = {key: value.split()[0] for key, _, value in (line.partition(":") for line in file)}
        return int(kilobytes["MemAvailable"]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
