"""Whether the file system of a folder can be written, as the kernel's table of mounts says it; nothing is tried.

Linux only; elsewhere, and where the table does not show a fault, nothing is said.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
FAULTY = ("ro", "emergency_ro", "abort", "shutdown")
"""Options of a file system that takes no more writes: mounted so, or after an error of its disk."""


def unwritable(folder: Path) -> str:
    """Why nothing can be written there, in words: `ext4 at /data is read-only (emergency_ro)`; else empty."""
    try:
        device = os.stat(folder).st_dev
        lines = TABLE.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    named = f"{os.major(device)}:{os.minor(device)}"
    found = [parts for line in lines if (parts := _parts(line)) and parts[0] == named and _below(folder, parts[1])]
    if not found:
        return ""
    _, place, kind, options = max(found, key=lambda parts: len(parts[1]))
    faults = [option for option in options if option in FAULTY]
    return f"the file system {kind} at {place} is read-only ({', '.join(faults)})" if faults else ""


def _parts(line: str) -> tuple[str, str, str, list[str]] | None:
    """Device, mount point, kind, and the options of mount and file system."""
    before, _, after = line.partition(" - ")
    first, second = before.split(), after.split()
    if len(first) < 6 or len(second) < 3:
        return None
    place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), first[4])
    return first[2], place, second[0], list(dict.fromkeys([*first[5].split(","), *second[2].split(",")]))


def _below(folder: Path, place: str) -> bool:
    return folder.resolve().is_relative_to(place)
