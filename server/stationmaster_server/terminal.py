"""A question that only somebody at a terminal can answer: a code is shown there, and has to be typed there.

Pipes, prepared input and a missing terminal answer nothing. Not covered: a program that holds a terminal of its own
and reads what is shown on it.
"""

from __future__ import annotations

import os
import secrets
from typing import IO

from stationmaster_trainer.errors import GateError

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without those that are taken for each other."""
ASSISTANTS = ("CLAUDECODE", "GEMINI_CLI", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CURSOR_AGENT")
"""Variables by which assistants mark the shells that they run commands in."""
WAY_OUT = "Run it in a terminal of your own; with --yes it is recorded as declared, which is no person's yes."


def confirmed(question: str) -> bool:
    """Whether somebody at the controlling terminal typed the code that was shown. GateError where there is none."""
    marker = next((name for name in ASSISTANTS if os.environ.get(name)), None)
    if marker is not None:
        raise GateError(f"there is no terminal to ask in: this one is an assistant's ({marker} is set).", WAY_OUT)
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        raise GateError("there is no terminal to ask in.", WAY_OUT) from None
    with os.fdopen(descriptor, "r+b", buffering=0) as terminal:
        return _asked(terminal, question)


def _asked(terminal: IO[bytes], question: str) -> bool:
    import termios

    code = "".join(secrets.choice(LETTERS) for _ in range(4))
    termios.tcflush(terminal.fileno(), termios.TCIFLUSH)  # what was typed before the code was seen is no answer to it
    terminal.write(f"{question}\nType {code} to approve, anything else not to: ".encode())
    answer = terminal.readline(64)
    return answer.decode(errors="replace").strip().upper() == code
