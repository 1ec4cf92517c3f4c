"""Ends a worker step by step: request, SIGTERM, SIGKILL, and then proof that nothing of its process tree is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import process

MIN_KILL_SECONDS = 5.0
"""Shortest time between SIGTERM and SIGKILL."""
RECORDER_MARK = "STATIONMASTER_ROLE=recorder"
"""In the environment of the recorder and of what it starts (a logger's uploader)."""


@dataclass
class Ladder:
    """The rungs for one worker that leads its own process group. `say` gets one line for each rung."""

    pid: int
    grace_seconds: float
    say: Callable[[str], None]
    asked_at: float | None = None
    term_at: float | None = None
    killed: bool = False
    """Whether SIGKILL was sent."""

    def ask(self, now: float, grace_seconds: float | None = None) -> None:
        """First rung: a request is out (a control file, or SIGTERM to the worker). Further calls change nothing."""
        if self.asked_at is None:
            self.asked_at = now
            self.grace_seconds = self.grace_seconds if grace_seconds is None else grace_seconds
            self.say(f"asked to stop; SIGTERM follows after {self.grace_seconds:g} s")
            self._signal(signal.SIGCONT)  # a paused worker cannot obey

    def climb(self, now: float) -> None:
        """Takes the next rung when its time has come."""
        if self.asked_at is None or self.killed:
            return
        kill_after = max(MIN_KILL_SECONDS, self.grace_seconds / 6)
        if self.term_at is None and now - self.asked_at >= self.grace_seconds:
            self.term_at = now
            self.say(f"did not stop within {self.grace_seconds:g} s: SIGTERM; SIGKILL follows after {kill_after:g} s")
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
        elif self.term_at is not None and now - self.term_at >= kill_after:
            self.killed = True
            self.say(f"ignored SIGTERM for {kill_after:g} s: SIGKILL to its process group")
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """To the whole group; only while the worker has not been waited for, so that its number is still its own."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def clear_tree(keep: set[int], say: Callable[[str], None], polite_seconds: float = 1.0) -> list[int]:
    """Ends every descendant of this process except `keep`: SIGTERM, then SIGKILL, until none is left.

    Returns those that stayed. Orphans of the worker are found because this process is their reaper
    (PR_SET_CHILD_SUBREAPER). Blocks a few seconds at most, and no time at all when nothing is left. The recorder's own
    helpers (RECORDER_MARK) are left alone.
    """
    left = remaining(keep)
    if not left:
        return []
    say(f"{len(left)} processes of the worker are still there: SIGTERM")
    start = time.monotonic()
    number = signal.SIGTERM
    while left and time.monotonic() - start < polite_seconds + 3.0:
        if number == signal.SIGTERM and time.monotonic() - start > polite_seconds:
            number = signal.SIGKILL
            say(f"{len(left)} of them ignored it: SIGKILL")
        for pid in left:
            _kill(pid, number)
        reap(keep)
        time.sleep(0.02)
        left = remaining(keep)
    say("all of them are gone" if not left else f"processes {left} cannot be ended")
    return left


def reap(keep: set[int]) -> None:
    """Waits for adopted children that have died, so that no zombie is left; `keep` are waited for elsewhere."""
    for pid in process.descendants(os.getpid()):
        if pid not in keep and process.state(pid) == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # a grandchild: its parent has to
                pass


def remaining(keep: set[int]) -> list[int]:
    """Living descendants of this process, without `keep` and the recorder's helpers."""
    return [
        pid
        for pid in process.descendants(os.getpid())
        if pid not in keep and process.state(pid) not in ("Z", "") and not process.has_variable(pid, RECORDER_MARK)
    ]


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, PermissionError):
        pass
