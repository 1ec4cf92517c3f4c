"""What the stories share: looking at a run until something is so, and the end of its server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FINAL = {"succeeded", "failed", "stopped", "lost"}
Until = Callable[[dict[str, Any]], bool]


def look_until(chat: Any, run: str, enough: Until, looks: int = 120) -> dict[str, Any]:
    """Polls until `enough` says so of the facts; fails at a final state that is not enough."""
    since = ""
    for _ in range(looks):
        facts: dict[str, Any] = chat.accepted("poll_status", run=run, since=since, wait_seconds=2).facts
        if enough(facts):
            return facts
        assert facts["state"] not in FINAL, facts
        since = facts["cursor"]
    raise AssertionError(f"not so after {looks} looks: {facts}")


def kill_dash_nine(project: Path) -> None:
    """Kills the one server that was started for the project's folder, and waits until it is gone."""
    (pid,) = [pid for pid, command in commands() if b"serve" in command and str(project).encode() in command]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(pid == other for other, _ in commands()):
        assert time.monotonic() < deadline, f"the server {pid} is still there"
        time.sleep(0.01)


def commands() -> Iterator[tuple[int, list[bytes]]]:
    """Process id and command line of every process; a zombie has none and is left out."""
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if command:
            yield int(entry.name), command.split(b"\0")


@pytest.fixture
def wait() -> Callable[..., dict[str, Any]]:
    """`wait(chat, run, enough)`."""
    return look_until


@pytest.fixture
def kill_server() -> Callable[[Path], None]:
    """`kill_server(project)`: kill -9."""
    return kill_dash_nine
