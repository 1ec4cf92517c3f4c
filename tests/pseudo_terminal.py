"""A program at a real terminal of its own, and a person who reads what it shows and types."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from typing import Any

LEADER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Takes standard input as its controlling terminal, hears Ctrl-C, and becomes the program."""
ASSISTANTS = ("CLAUDECODE", "GEMINI_CLI", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CURSOR_AGENT")


def at_terminal(command: list[str], env: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], int]:
    """The program and our side of its terminal; this process, which may hold threads of libraries, is not forked."""
    ours, theirs = pty.openpty()
    sides = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    child = subprocess.Popen([sys.executable, "-c", LEADER, *command], start_new_session=True, env=env, **sides)
    os.close(theirs)
    return child, ours


class Terminal:
    """The program is the leader of a session whose controlling terminal is ours."""

    def __init__(self, command: list[str], project: Any, **env: str) -> None:
        plain = {name: value for name, value in os.environ.items() if name not in ASSISTANTS}
        self.shown = b""
        self._child, self._side = at_terminal(command, {**plain, **project.environment, **env})

    def until(self, pattern: bytes, seconds: float = 60.0) -> str:
        """Reads the screen until the pattern stands there; its first group."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < deadline and self._read(), self.shown.decode(errors="replace")
        return found[1].decode() if found.groups() else found[0].decode()

    def type(self, text: str) -> None:
        """Types a line."""
        os.write(self._side, f"{text}\n".encode())

    def rest(self) -> str:
        """Everything that was shown, once the program has ended."""
        while self._read():
            pass
        self.code = self._child.wait()
        os.close(self._side)
        return self.shown.decode(errors="replace").replace("\r\n", "\n")

    def _read(self) -> bool:
        if not select.select([self._side], [], [], 60.0)[0]:
            return False
        try:
            data = os.read(self._side, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.shown += data
        return bool(data)
