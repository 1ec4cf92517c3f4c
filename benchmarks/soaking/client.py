"""A server over stdio that may die in the middle of a call, and the few words of MCP that are needed to talk to it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ServerDiedError(Exception):
    """The server went away before it answered."""


@dataclass(frozen=True)
class Reply:
    """What a tool call gave back."""

    text: str
    facts: dict[str, Any]
    refused: bool


class Server:
    """`stationmaster serve` for one project. Raises ServerDiedError when it dies."""

    def __init__(self, root: Path, env: dict[str, str], log: Path) -> None:
        self.root = root
        command = [sys.executable, "-m", "stationmaster_server", "serve", "--root", str(root)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=root, env=env
            )
        self.pid, self._next = self._process.pid, 0
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}}
        self._ask("initialize", hello)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> Reply:
        """Calls a tool on the root."""
        found = self._ask("tools/call", {"name": tool, "arguments": {"project_dir": str(self.root), **arguments}})
        text = "\n".join(part["text"] for part in found.get("content", []) if part["type"] == "text")
        facts = next(iter((found.get("_meta") or {}).values()), None) or found.get("structuredContent") or {}
        return Reply(text, facts, bool(found.get("isError")))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def hang_up(self) -> None:
        """Closes its stdin, as a client does that goes away."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        """Ends it and closes the pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass

    def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._next += 1
        self._send({"jsonrpc": "2.0", "id": self._next, "method": method, "params": parameters})
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            message = json.loads(line)
            if message.get("id") == self._next and "method" not in message:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found
        raise ServerDiedError(method)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ServerDiedError(str(error)) from error
