"""The project's git repository as a run finds it: commit, what differs from it, and which files git does not know.

Nothing of the repository's own configuration is run: no hooks, no monitors, no external differ, no filters for text.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import redact, rundir
from .errors import FormatError

MAX_DIFF = 1 << 20
"""Bytes of a difference that are kept."""
MAX_UNTRACKED = 200
MAX_HASHED = 32 << 20
"""Bytes up to which an untracked file is hashed."""
SECONDS = 10.0
_SAFE = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external="),
    *("-c", "core.pager=cat", "-c", "core.quotePath=false", "-c", "submodule.recurse=false"),
)
_OURS = ("runs/", "checkpoints/", ".stationmaster/")


@dataclass(frozen=True)
class Repository:
    """What was found."""

    facts: dict[str, Any]
    """`commit`, `branch`, `remote`, `dirty`, `changed_files`, `diff_sha256`, `diff_bytes`, `untracked`."""
    diff: str
    """Tracked files against the commit, secrets removed, capped; empty when nothing differs."""


def look(project: Path) -> Repository | None:
    """None outside a repository, or without git."""
    commit = _said(project, "rev-parse", "HEAD").decode(errors="replace").strip()
    if not commit:
        return None
    changed = [line for line in _said(project, "status", "--porcelain", "--untracked-files=no").splitlines() if line]
    raw = _said(project, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") if changed else b""
    facts: dict[str, Any] = {
        "commit": commit,
        "branch": _word(project, "rev-parse", "--abbrev-ref", "HEAD"),
        "remote": redact.text(_word(project, "config", "--get", "remote.origin.url")),
        "dirty": bool(changed),
        "changed_files": len(changed),
        "diff_bytes": len(raw),
        "diff_sha256": hashlib.sha256(raw).hexdigest() if raw else "",
        "untracked": _untracked(project),
    }
    return Repository(facts, redact.text(raw[:MAX_DIFF].decode(errors="replace"), redact.values()))


def _untracked(project: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of files that git neither knows nor ignores; runs and checkpoints left out."""
    listed = _said(project, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    names = sorted(os.fsdecode(name) for name in listed if name and not os.fsdecode(name).startswith(_OURS))
    return [_file(project, name) for name in names[:MAX_UNTRACKED]]


def _file(project: Path, name: str) -> dict[str, Any]:
    path, shown = project / name, redact.text(name.encode("utf-8", "replace").decode())
    try:
        size = path.lstat().st_size
        content = rundir.read(path, MAX_HASHED) if not path.is_symlink() else os.fsencode(os.readlink(path))
        return {"path": shown, "bytes": size, "sha256": hashlib.sha256(content).hexdigest()}
    except (OSError, FormatError):
        return {"path": shown, "bytes": None, "sha256": ""}


def _word(project: Path, *arguments: str) -> str:
    return _said(project, *arguments).decode(errors="replace").strip()[:500]


def _said(project: Path, *arguments: str) -> bytes:
    """What git prints; empty when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(  # nosec B603 B607 # argv list, no shell
            ["git", *_SAFE, "-C", str(project), *arguments],
            capture_output=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout if done.returncode == 0 else b""
