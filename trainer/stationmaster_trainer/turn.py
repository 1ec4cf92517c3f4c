"""Waits until the device of an attempt is free, as the confirmed plan wants it: the state `queued`, told in the status.

Runs in the supervisor's process before the worker is started, so that a wait outlives server and chat.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

from . import codec, control, lease, process, rundir
from .bulletin import Bulletin
from .contract import Launch, Spec, Status
from .ending import Ending
from .errors import FormatError, RunError
from .lease import Claim, Seat
from .logfile import say
from .rundir import AttemptDir, RunDir

LOOK_SECONDS = 0.25
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TELL_SECONDS = 15.0
"""Between two looks at how far the run ahead is."""


class Turn:
    """One per process that supervises a run; the caller holds the run's lock."""

    def __init__(self, home: Path, run: RunDir, attempt: AttemptDir, spec: Spec, launch: Launch) -> None:
        self._home, self._folder = home, rundir.identity(Path("."))
        self._run, self._attempt, self._spec, self._launch = run, attempt, spec, launch
        self._me = process.identify(os.getpid())
        self._terminated = False
        self.over = False
        """Whether the attempt has ended without having begun."""

    def come(self) -> Seat | None:
        """Waits for the device. None: the attempt is `over`, or runs without a lease (none wanted, or none can be)."""
        if not self._launch.lease:
            return None
        when_busy = self._launch.changes.get("when_busy", self._spec.config.when_busy)
        try:
            seat = Seat(self._launch.lease, Claim(self._run_name, self._spec.project_dir, str(self._home)))
            if _taken(seat, share=when_busy == "share") or when_busy == "share":
                return seat
            if when_busy == "queue":
                return self._wait(seat)
            self._refuse(seat)
        except RunError as error:
            self._end("busy", error.message, error.way_out)
        except OSError as error:  # a home that cannot be written to
            say(f"no lease on {self._launch.lease}: {error}")
        return None

    @property
    def _run_name(self) -> str:
        return self._spec.config.run_name

    def _refuse(self, seat: Seat) -> None:
        words = lease.describe(seat.device, seat.ahead())
        seat.release()
        self._end("busy", f"{words or 'another run uses the device'}.", "Resume it later, or with when_busy queue.")

    def _wait(self, seat: Seat) -> Seat | None:
        """Until it is this run's turn, somebody stops it, or its folder is gone."""
        bulletin = Bulletin(self._run, self._spec, self._launch, say)
        handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        told_at = 0.0
        while self._terminated or not _taken(seat):
            if rundir.identity(self._home) != self._folder:
                self._leave(seat, "the run folder was deleted or replaced")
                return None
            if self._terminated or control.named(self._attempt, "stop"):
                self._leave(seat, "asked to stop")
                self._end("user", "stopped on request while it waited for its turn; no step was done.", "")
                return None
            words = lease.describe(seat.device, seat.ahead())
            if words and time.monotonic() - told_at > TELL_SECONDS:
                told_at = time.monotonic()
                bulletin.tell(f"Waiting: {words}. It starts by itself.")
                bulletin.write(self._status(bulletin, None))
            time.sleep(LOOK_SECONDS)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        say(f"{seat.device} is free")
        return seat

    def _leave(self, seat: Seat, why: str) -> None:
        say(f"{why} while it waited for {seat.device}")
        self.over = True
        seat.release()

    def _end(self, cause: str, message: str, way_out: str) -> None:
        self.over = True
        bulletin, now = Bulletin(self._run, self._spec, self._launch, say), time.time()
        bulletin.end(Ending("stopped", cause, message, way_out))
        bulletin.release()
        bulletin.leave(self._attempt.final, self._status(bulletin, now))
        bulletin.write(self._status(bulletin, now))

    def _status(self, bulletin: Bulletin, ended: float | None) -> Status:
        """What earlier attempts came to still stands."""
        before = _read(self._run)
        fields: dict[str, Any] = {"total_steps": self._spec.config.total_steps}
        if before is not None and before.attempt:
            fields = {name: getattr(before, name) for name in _KEPT}
        found = bulletin.status(ended, 0.0, supervisor=self._me, **fields)
        return dataclasses.replace(found, elapsed=before.elapsed if before is not None else 0.0)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._terminated |= number != signal.SIGHUP


def _taken(seat: Seat, *, share: bool = False) -> bool:
    """Whether the device is this run's now; it is not while another process keeps the claims from being changed."""
    try:
        return seat.take(share=share)
    except RunError as error:
        say(error.message)
        return False


_KEPT = (
    "step", "total_steps", "epoch", "samples", "loss", "loss_average", "learning_rate", "grad_norm", "eval", "best",
    "checkpoint", "alerts_total", "not_checked", "actions", "curve", "eval_curve", "loggers", "device",
)  # fmt: skip


def _read(run: RunDir) -> Status | None:
    try:
        return codec.loads(Status, rundir.read(run.status), run.status.name)
    except (OSError, FormatError):
        return None
