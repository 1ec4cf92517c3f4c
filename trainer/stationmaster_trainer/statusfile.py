"""Writes `status.json` so that neither a kill nor a full disk leaves a lie: whole replacements, room in reserve."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from . import codec, rundir
from .contract import Status
from .errors import FormatError
from .rundir import RunDir

RESERVE = 256 << 10
"""Bytes kept for the last words of a run whose disk is full."""


class StatusFile:
    """The one writer of a run's status while it holds the lock."""

    def __init__(self, run: RunDir, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._complained = ""
        self.broken = False
        """Whether the newest failure was that of a file system that is read-only or fails, and not of a full one."""
        self.revision = _revision(run)
        self._sweep()
        self._fill_reserve()

    def write(self, status: Status) -> bool:
        """Replaces the file; False when that failed, which is said once. The caller tries again later."""
        data = codec.dumps(status, indent=1).encode("utf-8", "replace")
        try:
            rundir.replace(self._run.status, data)
        except OSError as error:
            self.broken = error.errno in (errno.EROFS, errno.EIO)
            if str(error) != self._complained:
                self._complained = str(error)
                self._say(f"status.json cannot be written: {error}")
            return False
        self._complained = ""
        self.revision = status.revision
        return True

    def release(self) -> None:
        """Gives the reserve back. Only once the worker is gone: it would fill the room at once."""
        try:
            os.unlink(self._run.reserve)
        except OSError:
            pass

    def _fill_reserve(self) -> None:
        try:
            self._run.reserve.write_bytes(os.urandom(RESERVE))  # random: some file systems store zeros for nothing
            self._run.reserve.chmod(0o600)
        except OSError:
            self.release()

    def _sweep(self) -> None:
        """Removes what a kill in the middle of a replacement left."""
        for name in os.listdir(self._run.path):
            if name.startswith(f".{self._run.status.name}."):
                try:
                    os.unlink(self._run.path / name)
                except OSError:
                    pass


def _revision(run: RunDir) -> int:
    """Where an earlier attempt stopped counting; 0 when its status cannot be read."""
    try:
        return codec.loads(Status, rundir.read(run.status), "status.json").revision
    except (OSError, FormatError):
        return 0
