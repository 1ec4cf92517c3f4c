"""The worker as its supervisor holds it: started in a session of its own, asked, looked at, and ended by the ladder."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import process
from .contract import Launch
from .ladder import Ladder


class Child:
    """A started worker. Raises OSError when it cannot be started."""

    def __init__(self, launch: Launch, log: Path, say: Callable[[str], None], keep: tuple[int, ...] = ()) -> None:
        """`keep`: descriptors that it inherits, so that the device stays claimed when the supervisor dies."""
        token = secrets.token_hex(16)
        named = {name: os.environ[name] for name in launch.env_names if name in os.environ}
        with log.open("ab") as output:
            os.fchmod(output.fileno(), 0o600)
            self._popen = subprocess.Popen(  # nosec B603 # argv list, no shell
                list(launch.argv),
                cwd=launch.cwd,
                env={**named, **launch.env, "STATIONMASTER_TOKEN": token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=keep,
            )
        self.pid = self._popen.pid
        self.identity = process.identify(self.pid, token)
        self.ladder = Ladder(self.pid, launch.grace_seconds, say)

    def exit_code(self) -> int | None:
        """None while it lives; negative for the signal that ended it."""
        return self._popen.poll()

    def ask(self) -> None:
        """SIGTERM to the worker alone: it saves and ends, and its data-loader processes live until then."""
        self._popen.send_signal(signal.SIGTERM)

    @property
    def paused(self) -> bool:
        """Whether it is held by SIGSTOP or a debugger."""
        return process.state(self.pid) in ("T", "t")

    def dump_stacks(self) -> bool:
        """Makes it append the stacks of all its threads to stacks.txt; False when it is not ready for that."""
        if not process.catches(self.pid, signal.SIGUSR1):
            return False
        os.kill(self.pid, signal.SIGUSR1)
        return True
