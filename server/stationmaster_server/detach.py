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
log, status, *argv = sys.argv[1:]
pid = os.fork()
if pid:
    os.write(1, b"%d" % pid)
    os._exit(0)
os.setsid()
os.umask(0o077)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
child = os.fork() if status else 0
if child:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(status + "~", "w") as file:
        file.write(str(code))
    os.replace(status + "~", status)
    os.killpg(0, 9)
try:
    os.execv(argv[0], argv)
except OSError as error:
    os.write(2, f"{argv[0]}: {error}\\n".encode())
    os._exit(127)
"""
"""The server has threads and must not fork by itself; this tiny program does it. What a run writes is its owner's
alone, whatever writes it."""


def spawn(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stderr: Path, status: Path | None = None,
    what: str = "the supervisor",
) -> int:  # fmt: skip
    """Starts `argv` detached, its standard error appended to a file, its input and output nowhere.

    Returns its process id (that of its group, too) when it is on its own, not when it works. With `status` the process
    of that id only waits for `argv`, writes its exit code, negative for a signal, into that file, and ends what is left
    of the group. Raises RunError when not even the stub could run.
    """
    said, code = b"", 1
    try:
        stub = subprocess.Popen(  # nosec B603 # argv list, no shell
            [sys.executable, "-I", "-S", "-c", _STUB, str(stderr), str(status or ""), *argv],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        said, _ = stub.communicate(timeout=30.0)
        code = stub.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{what} cannot be started: {error}.", "Look at the limits of this machine.") from None
    if code != 0:
        raise RunError(f"{what} cannot be started: exit code {code}.", f"{stderr} may say more.")
    return int(said)
