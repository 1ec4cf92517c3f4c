"""Keeps the recorder going beside the supervisor: starts it, again with growing pauses, tells what its loggers say."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import ledger
from .contract import LoggerState
from .ladder import RECORDER_MARK
from .rundir import RunDir

MAX_RESTARTS = 5
PAUSES = (0.5, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each new start."""
SOUND_SECONDS = 300.0
"""A recorder that lived this long starts with a fresh count."""


class Keeper:
    """One per supervisor. Nothing of it may disturb the training: every failure ends in a message."""

    def __init__(self, run: RunDir, argv: Sequence[str], log: Path, say: Callable[[str], None]) -> None:
        self._run, self._argv, self._log, self._say = run, argv, log, say
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._started_at = self._next_start = 0.0
        self._seen: tuple[int, int] | None = None
        self._loggers: tuple[LoggerState, ...] = ()
        self.given_up = ""
        """Why no recorder runs any more; empty while one does or will."""

    @property
    def pid(self) -> int:
        """Of the recorder that runs; 0 when none does."""
        return self._child.pid if self._child is not None else 0

    def tick(self, now: float) -> None:
        """Starts the recorder when it is due, and notices its end."""
        if not self._argv or self.given_up:
            return
        if self._child is None:
            if now >= self._next_start:
                self._start(now)
        elif self._child.poll() is not None:
            self._ended(self._child.returncode, now)

    def loggers(self) -> tuple[LoggerState, ...]:
        """State of each logger as the recorder last wrote it; all degraded when it is gone for good."""
        try:
            found = os.stat(self._run.recorder)
        except OSError:
            return self._loggers
        if (found.st_ino, found.st_mtime_ns) != self._seen:
            self._seen = (found.st_ino, found.st_mtime_ns)
            self._loggers = tuple(entry.logger for entry in ledger.load(self._run).entries)
        if self.given_up:
            return tuple(replace(one, state="degraded", message=self.given_up) for one in self._loggers)
        return self._loggers

    def trouble(self) -> str:
        """What is wrong with the loggers, in words; empty when nothing is."""
        bad = [f"{one.name}: {one.message}" for one in self.loggers() if one.state == "degraded"]
        return self.given_up or "; ".join(bad)

    def wait(self, seconds: float) -> None:
        """Gives the recorder time to write the rest and to end by itself; it goes on alone after that.

        One that has died just now is started once more: the rest has to be written.
        """
        if self._child is not None and self._child.poll() is not None and self._child.returncode != 0:
            self._child = None
        if self._child is None and self._argv and not self.given_up:
            self._start(time.monotonic())
        if self._child is None:
            return
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._say("the recorder is still busy with a logger; it finishes by itself")
            self._child.returncode = 0  # not ours to wait for any more

    def _start(self, now: float) -> None:
        name, _, value = RECORDER_MARK.partition("=")
        try:
            with self._log.open("ab") as log:
                os.fchmod(log.fileno(), 0o600)
                self._child = subprocess.Popen(  # nosec B603 # argv list, no shell
                    list(self._argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, name: value},
                    start_new_session=True,
                )
        except OSError as error:
            self._child = None
            self._failed(f"it cannot be started: {error}", now)
            return
        self._started_at = now

    def _ended(self, code: int, now: float) -> None:
        self._child = None
        if now - self._started_at > SOUND_SECONDS:
            self._restarts = 0
        self._failed(f"it ended with exit code {code}", now)

    def _failed(self, why: str, now: float) -> None:
        if self._restarts >= MAX_RESTARTS:
            self.given_up = f"the recorder was started {MAX_RESTARTS + 1} times; {why}"
            self._say(self.given_up)
            return
        pause = PAUSES[min(self._restarts, len(PAUSES) - 1)]
        self._restarts += 1
        self._next_start = now + pause
        self._say(f"recorder: {why}; next start in {pause:g} s")
