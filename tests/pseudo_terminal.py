"""A program at a real terminal of its own, and a person who reads what it shows and types."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from typing import Any

ASSISTANTS = ("CLAUDECODE", "GEMINI_CLI", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CURSOR_AGENT")


class Terminal:
    """The program is the leader of a session whose controlling terminal is ours."""

    def __init__(self, command: list[str], project: Any, **env: str) -> None:
        plain = {name: value for name, value in os.environ.items() if name not in ASSISTANTS}
        self.shown = b""
        self.pid, self._side = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**plain, **project.environment, **env})

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
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
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
