"""Starts a process that outlives its starter: double fork, a session of its own, nothing inherited but what is given.

It survives the closing of the server's stdin, SIGTERM, killpg, kill -9 of the server and a kill of all its children.
Not covered: a service manager that ends a whole control group.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stationmaster_trainer.errors import RunError

_STUB = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    os.write(2, f"{sys.argv[2]}: {error}\\n".encode())
    os._exit(127)
"""
"""The server has threads and must not fork by itself; this tiny program does it."""


def spawn(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stderr: Path) -> None:
    """Starts `argv` detached, its standard error appended to a file, its input and output nowhere.

    Returns when the process is on its own, not when it works. Raises RunError when not even the stub could run.
    """
    try:
        stub = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _STUB, str(stderr), *argv],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        code = stub.wait(30.0)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"the supervisor cannot be started: {error}.", "Look at the limits of this machine.") from None
    if code != 0:
        raise RunError(f"the supervisor cannot be started: exit code {code}.", f"{stderr} may say more.")
