"""Keeps what a soak counts in a file, a line for each event, so that one that was ended goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CODE = ("server", "trainer")
"""What the soak is a test of."""


class Book:
    """One file, only ever appended to; `path` None: nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every event so far; a line that a kill cut off is left out."""
        if self.path is None or not self.path.exists():
            return
        for line in self.path.read_text("utf-8", "replace").splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found

    def note(self, event: str, **facts: Any) -> None:
        """Appends an event, on the disk before this returns."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            torn = file.read() not in (b"", b"\n")  # a kill cut the last line off
            file.write(b"\n" * torn + json.dumps({"event": event, **facts}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def set_aside(self) -> None:
        """Begins anew; what was there stays beside it."""
        if self.path is not None and self.path.exists():
            self.path.replace(self.path.with_suffix(".before.jsonl"))


def source() -> str:
    """Eight hexadecimal digits of the code of server and trainer: another number, another program."""
    whole = hashlib.sha256()
    for path in sorted(path for place in CODE for path in (ROOT / place).rglob("*") if path.suffix in (".py", ".yaml")):
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()[:8]


def commit() -> str:
    """Short name of the commit that is checked out; empty without git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
