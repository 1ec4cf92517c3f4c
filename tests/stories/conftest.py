"""What the stories share: looking at a run until something is so, and the server's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FINAL = {"succeeded", "failed", "stopped", "lost"}
Until = Callable[[dict[str, Any]], bool]


def look_until(chat: Any, run: str, enough: Until, looks: int = 120) -> dict[str, Any]:
    """Polls, two seconds at most a look, until `enough` says so of the facts; fails at a final state that is not enough."""
    since = ""
    for _ in range(looks):
        facts: dict[str, Any] = chat.accepted("poll_status", run=run, since=since, wait_seconds=2).facts
        if enough(facts):
            return facts
        assert facts["state"] not in FINAL, facts
        since = facts["cursor"]
    raise AssertionError(f"not so after {looks} looks: {facts}")


def final(facts: dict[str, Any]) -> bool:
    """Whether the run has ended."""
    return facts["state"] in FINAL


def server_of(project: Path) -> int:
    """Process id of the one server that was started for the project's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, NotADirectoryError):
            continue
        if b"serve" in command and str(project).encode() in command:
            found.append(int(entry.name))
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def wait() -> Callable[..., dict[str, Any]]:
    """`wait(chat, run, enough)`."""
    return look_until


@pytest.fixture
def server() -> Callable[[Path], int]:
    """`server(project)`: the process id of its server."""
    return server_of
