"""The project's git repository as a run finds it: commit, what differs from it, and which files git does not know.

Nothing of the repository's own configuration is run: no hooks, no monitors, no external differ, no filters (those of
the person's own configuration are); submodules are not looked into.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
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
_NO_SUBMODULES = "--ignore-submodules=dirty"
"""Another commit in one is a difference; what lies in it is not asked for, with a configuration of its own."""
_OURS = ("runs/", "checkpoints/", ".stationmaster/")


@dataclass(frozen=True)
class Repository:
    """What was found."""

    facts: dict[str, Any]
    """`commit`, `branch`, `remote`, `dirty`, `changed_files`, `diff_sha256`, `diff_bytes`, `untracked`
    (the first MAX_UNTRACKED by name), `untracked_count` (all of them)."""
    diff: str
    """Tracked files against the commit, secrets removed, capped; empty when nothing differs."""


def look(project: Path) -> Repository | None:
    """None outside a repository, or without git."""
    commit = _said(project, "rev-parse", "HEAD").decode(errors="replace").strip()
    if not commit:
        return None
    off = _without_filters(project)
    status = _said(project, "status", "--porcelain", "--untracked-files=no", _NO_SUBMODULES, more=off)
    changed = [line for line in status.splitlines() if line]
    differ = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", _NO_SUBMODULES, "HEAD")
    raw = _said(project, *differ, more=off) if changed else b""
    untracked = _untracked(project)
    facts: dict[str, Any] = {
        "commit": commit,
        "branch": _word(project, "rev-parse", "--abbrev-ref", "HEAD"),
        "remote": redact.text(_word(project, "config", "--get", "remote.origin.url")),
        "dirty": bool(changed),
        "changed_files": len(changed),
        "diff_bytes": len(raw),
        "diff_sha256": hashlib.sha256(raw).hexdigest() if raw else "",
        "untracked": [_file(project, name) for name in untracked[:MAX_UNTRACKED]],
        "untracked_count": len(untracked),
    }
    return Repository(facts, redact.text(_capped(raw).decode(errors="replace"), redact.values()))


def _capped(raw: bytes) -> bytes:
    """At most MAX_DIFF bytes, cut between two lines: half a secret would not be known for one."""
    return raw if len(raw) <= MAX_DIFF else raw[: raw.rfind(b"\n", 0, MAX_DIFF) + 1]


def _without_filters(project: Path) -> dict[str, str]:
    """Variables that empty every filter of the repository's own configuration: git would run it to compare a file."""
    listed = _said(project, "config", "--show-scope", "--name-only", "--null", "--get-regexp", r"^filter\.").split(
        b"\0"
    )
    own = (name for scope, name in zip(listed[::2], listed[1::2], strict=False) if scope in (b"local", b"worktree"))
    drivers = sorted({os.fsdecode(name).rpartition(".")[0] for name in own})
    ends = {"clean": "", "smudge": "", "process": "", "required": "false"}
    settings = [(f"{driver}.{end}", value) for driver in drivers for end, value in ends.items()]
    named = {f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in enumerate(settings)}
    valued = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(settings)}
    return {"GIT_CONFIG_COUNT": str(len(settings)), **named, **valued}


def _untracked(project: Path) -> list[str]:
    """Names of files that git neither knows nor ignores; runs and checkpoints left out."""
    listed = _said(project, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    return sorted(os.fsdecode(name) for name in listed if name and not os.fsdecode(name).startswith(_OURS))


def _file(project: Path, name: str) -> dict[str, Any]:
    """Name, size and SHA-256."""
    path, shown = project / name, redact.text(name.encode("utf-8", "replace").decode())
    try:
        size = path.lstat().st_size
        content = rundir.read(path, MAX_HASHED) if not path.is_symlink() else os.fsencode(os.readlink(path))
        return {"path": shown, "bytes": size, "sha256": hashlib.sha256(content).hexdigest()}
    except (OSError, FormatError):
        return {"path": shown, "bytes": None, "sha256": ""}


def _word(project: Path, *arguments: str) -> str:
    return _said(project, *arguments).decode(errors="replace").strip()[:500]


def _said(project: Path, *arguments: str, more: Mapping[str, str] | None = None) -> bytes:
    """What git prints; empty when it is missing, fails or takes too long. `more`: variables for it."""
    try:
        done = subprocess.run(  # nosec B603 B607 # argv list, no shell
            ["git", *_SAFE, "-C", str(project), *arguments],
            capture_output=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **(more or {})},
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout if done.returncode == 0 else b""
