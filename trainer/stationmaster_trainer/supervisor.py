"""Watches one attempt from outside the training: starts the worker, judges its records, tells its state and end.

Standard library only; runs in the server's Python, detached from it, with the run folder as its working folder, so that
a new folder of the same name is never written to. Whoever holds the lock of the run is its supervisor.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from . import clearing, ladder, logfile, oom, process, rundir, signals
from .alertbook import AlertBook, earlier_episodes
from .budget import Budget
from .bulletin import Bulletin
from .child import Child
from .contract import (
    Action,
    Checkpoint,
    Cleared,
    Eval,
    Finished,
    Launch,
    Note,
    Phase,
    Record,
    Spec,
    Started,
    Status,
    Train,
)
from .control import requests
from .ending import Ending, decide
from .keeper import Keeper
from .lease import Seat
from .logfile import say
from .progress import Progress
from .rundir import AttemptDir, RunDir
from .signals import Signals
from .states import FINAL
from .stream import Follower
from .watchdog import Watchdog

TICK = 0.1
"""Seconds between two looks at the worker."""
STATUS_SECONDS = 0.5
"""Shortest time between two ordinary replacements of the status; changes of state, alerts and the like come at once."""
CHORES_SECONDS = 1.0
READ_SECONDS = 0.2
"""Longest time that one look spends on records, so that a long history does not hide the worker's death."""
LINGER_SECONDS = 30.0
"""How long a worker may live on after its last record."""
RECORDER_SECONDS = 1.0
"""How long the final status waits for the recorder to write the last rows."""
DISK_FULL_SECONDS = 600.0
"""How long the supervisor tries to write a final status on a full disk."""
DISK_ERROR_SECONDS = 10.0
"""The same on one that is read-only or fails: once it lets the lock go, readers say `lost` and why."""


class Supervisor:
    """One attempt of one run; the caller holds the lock and has made the run folder the working folder."""

    def __init__(
        self, home: Path, run: RunDir, attempt: AttemptDir, spec: Spec, launch: Launch, seat: Seat | None = None
    ) -> None:
        self._home, self._folder = home, rundir.identity(Path("."))
        self._attempt, self._spec, self._launch = attempt, spec, launch
        self._bulletin = Bulletin(run, spec, launch, say)
        self._signals = Signals(attempt, spec, launch, say)
        self._budget = Budget(attempt, spec, launch, say)
        self._seat, self._cleared = seat, Cleared(0.0)
        self._gpu, self._begun_at = clearing.GpuWatch(launch.lease), time.monotonic()
        self._progress = Progress(spec)
        self._follower = Follower(run, launch.attempt)
        self._alerts = AlertBook(attempt.alerts, spec, say, earlier_episodes(run, launch.attempt))
        self._keeper = Keeper(run, launch.recorder_argv, attempt.recorder_log, say)
        self._witness = oom.KernelWitness()
        self._watchdog = Watchdog(time.monotonic(), floor=launch.stall_seconds, first=launch.first_stall_seconds)
        self._earlier: dict[int, float] = {}
        self._child: Child | None = None
        self._me = process.identify(os.getpid())
        self._cpu_then, self._cpu_due = 0.0, False
        self._last_record_at: float | None = None
        self._terminated = self._gone = False
        self._chores_at = 0.0
        self._complained = ""

    def run(self) -> AttemptDir | None:
        """The whole attempt, until the final status is written or the run folder is gone.

        Returns the attempt that a rollback begins; the status is not final then.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._read(time.monotonic() + READ_SECONDS)
        self._bulletin.move("starting")
        self._write_status()
        try:
            keep = (self._seat.descriptor,) if self._seat is not None else ()
            child = self._child = Child(self._launch, self._attempt.worker_log, self._rung, keep)
        except OSError as error:
            way_out = "Check the path of the Python that trains, and the project folder."
            self._end(Ending("failed", "exception", f"the worker cannot be started: {error}", way_out))
            return None
        say(f"worker started: pid {child.pid}")
        self._bulletin.due = True
        while (code := child.exit_code()) is None:
            try:
                self._look(child)
            except Exception:  # whatever it is: without a supervisor the training would stop
                self._complain(traceback.format_exc())
            time.sleep(TICK)
        return self._worker_ended(child, code)

    def _look(self, child: Child) -> None:
        """One look at everything; about ten in a second."""
        now = time.monotonic()
        child.ladder.climb(now)
        self._read(now + READ_SECONDS)
        self._obey(child, now)
        self._notice_pause(child, now)
        self._notice_silence(child, now)
        if now - self._chores_at >= CHORES_SECONDS:
            self._chores_at = now
            self._chores(child, now)
        caught_up = self._follower.attempt == self._launch.attempt
        if caught_up and (self._bulletin.due or now - self._bulletin.written_at >= STATUS_SECONDS):
            self._write_status()

    def _read(self, deadline: float) -> None:
        """Takes in what the streams hold, until `deadline`."""
        more = True
        while more and time.monotonic() < deadline:
            number = self._follower.attempt
            found, more = self._follower.read()
            for record, stands in found:
                if number < self._launch.attempt:
                    self._see_history(number, record, stands)
                else:
                    self._see(record)
            for damage in self._follower.damage[:20]:
                say(f"{damage.path}, byte {damage.offset}: {damage.message}")
            self._follower.damage.clear()

    def _see_history(self, number: int, record: Record, stands: bool) -> None:
        self._earlier[number] = record.elapsed
        if stands and not isinstance(record, Finished):
            self._progress.see(record)
            self._progress.begin_attempt()
            self._alerts.see(record, live=False)

    def _see(self, record: Record) -> None:
        self._progress.see(record)
        self._last_record_at = time.monotonic()
        if not isinstance(record, (Note, Checkpoint)):  # other threads write those while the training hangs
            lived = self._last_record_at - (record.ago if isinstance(record, Phase) else 0.0)
            self._watchdog.heard(lived, self._progress.phase)
        if isinstance(record, (Started, Train)) and self._bulletin.state == "starting":
            self._bulletin.move("running")
        lives = self._watchdog.overdue(self._last_record_at) is None
        awake, changes = lives and self._alerts.clear("stall", self._progress.step), self._alerts.see(record)
        decided = self._signals.see(changes)
        news = awake or bool(changes) or decided
        self._bulletin.due |= news or isinstance(record, (Started, Eval, Checkpoint, Action))
        self._cpu_due = True

    def _obey(self, child: Child, now: float) -> None:
        """Requests to stop, by control file or by a signal to this process; and a worker that has ended but stays."""
        if child.ladder.asked_at is None:
            if any(name.endswith("-stop.json") for name in requests(self._attempt)):
                self._stop(child, "user", now)
            elif self._signals.asked is not None:
                self._signals.place()
                self._stop(child, self._signals.cause, now, self._signals.words())
            elif self._budget.look(sum(self._earlier.values()) + now - self._begun_at):
                self._stop(child, "budget", now, f"Stopping: {self._budget.reached}.")
            elif self._terminated:
                say("this supervisor got SIGTERM and passes it on")
                child.ask()
                self._stop(child, "user", now)
        ended = self._progress.finished or self._progress.failure
        if ended and self._last_record_at is not None and now - self._last_record_at > LINGER_SECONDS:
            child.ladder.ask(now, 0.0)

    def _stop(self, child: Child, cause: str, now: float, words: str = "") -> None:
        self._bulletin.cause = cause
        self._bulletin.move("stopping", words)
        child.ladder.ask(now)

    def _notice_pause(self, child: Child, now: float) -> None:
        paused = child.paused
        if paused:
            self._watchdog.restart(now)
        if paused and self._bulletin.state == "running":
            self._bulletin.move("paused", "The worker is held by SIGSTOP; SIGCONT lets it go on.")
        elif not paused and self._bulletin.state == "paused":
            self._bulletin.move("running")

    def _notice_silence(self, child: Child, now: float) -> None:
        silent = self._watchdog.overdue(now)
        if silent is None or self._bulletin.state not in ("starting", "running"):
            return
        busy = process.tree_cpu_seconds(child.pid) - self._cpu_then
        limit, phase = self._watchdog.limit, self._watchdog.phase
        if self._alerts.stalled(self._progress.step, silent, limit, phase, busy, self._attempt.stacks):
            child.dump_stacks()
            self._bulletin.due = True

    def _chores(self, child: Child, now: float) -> None:
        """Once a second: the recorder alive, orphans reaped, logs within bounds, the folder still the same."""
        if not self._gone and self._folder_lost():
            self._gone = True
            say("the run folder was deleted or replaced: the worker is asked to stop")
            child.ask()
            self._stop(child, "run_folder_gone", now)
        if self._gone:
            return
        if self._cpu_due:
            self._cpu_then, self._cpu_due = process.tree_cpu_seconds(child.pid), False
        self._witness.look(now)
        self._keeper.tick(now)
        self._bulletin.due |= self._alerts.logging(self._progress.step, self._keeper.trouble())
        self._signals.place()
        self._alerts.chores(self._progress.step)
        ladder.reap({child.pid, self._keeper.pid})
        if logfile.cap(self._attempt.worker_log):
            say("worker.log was longer than its limit; its middle was cut out")

    def _worker_ended(self, child: Child, code: int) -> AttemptDir | None:
        """Drains the stream once more, then decides; the attempt that a rollback begins, if there is one."""
        say(f"worker ended with exit code {code}")
        self._signals.worker_gone()
        try:
            self._read(time.monotonic() + 3600.0)
        except Exception:
            self._complain(traceback.format_exc())
        ending = decide(
            code,
            self._progress.finished,
            self._progress.failure,
            stop_cause=self._bulletin.cause,
            killed=child.ladder.killed,
            oom_evidence="" if child.ladder.killed else self._witness.killed(child.pid),
            peak_bytes=oom.peak_memory_bytes(),
            last_words=logfile.last_line(self._attempt.worker_log),
        )
        self._cleared = clearing.clear({self._keeper.pid}, child, self._gpu, say)
        left = self._cleared.left
        failure, asked = self._progress.failure, child.ladder.asked_at is not None
        if not left and self._signals.goes_back(self._progress.finished, failure, asked) and not self._folder_lost():
            following = self._go_back()
            if following is not None:
                return following
        ending = self._signals.ending(ending, self._progress.step)
        if left:
            ending = dataclasses.replace(ending, message=f"{ending.message} Processes {left} could not be ended.")
        ending = self._budget.ending(ending)
        self._end(ending)
        return None

    def _go_back(self) -> AttemptDir | None:
        """Ends the attempt without a final status and sets up the next one; None when there is no way back."""
        action = self._signals.prepare()
        if action is None:
            return None
        ending = signals.went_back(action)
        say(ending.message)
        self._bulletin.cause = ending.cause
        self._bulletin.move("stopping")
        self._bulletin.tell(ending.message)
        self._write_status()
        last = dataclasses.replace(self._status(time.time()), state=ending.state, way_out=ending.way_out)
        self._bulletin.leave(self._attempt.final, last)
        self._keeper.wait(RECORDER_SECONDS)
        try:
            return self._signals.next_attempt(action)
        except OSError as error:
            say(f"the next attempt cannot be set up: {error}")
            return None

    def _end(self, ending: Ending) -> None:
        """Writes the truth: final.json first, which tells the recorder to finish, then the status."""
        self._alerts.clear("stall", self._progress.step)
        self._bulletin.end(ending)
        if self._seat is not None:
            self._seat.release(all_gone=not self._cleared.left)
        if self._gone or self._folder_lost():
            return
        ended = time.time()
        self._bulletin.release()
        self._bulletin.leave(self._attempt.final, self._status(ended))
        self._keeper.wait(RECORDER_SECONDS)
        self._alerts.logging(self._progress.step, self._keeper.trouble())
        begun = time.monotonic()
        while not self._write_status(ended) and not self._folder_lost():
            if time.monotonic() - begun > (DISK_ERROR_SECONDS if self._bulletin.unwritable else DISK_FULL_SECONDS):
                return
            time.sleep(1.0)

    def _folder_lost(self) -> bool:
        return rundir.identity(self._home) != self._folder

    def _rung(self, line: str) -> None:
        say(line)
        self._bulletin.tell(f"Worker: {line}.")

    def _complain(self, text: str) -> None:
        if text != self._complained:
            self._complained = text
            say(text)

    def _write_status(self, ended: float | None = None) -> bool:
        return not self._gone and self._bulletin.write(self._status(ended))

    def _status(self, ended: float | None) -> Status:
        return self._bulletin.status(
            ended,
            sum(self._earlier.values()),
            alerts_open=self._alerts.shown(),
            alerts_total=self._alerts.total,
            not_checked=self._alerts.not_checked,
            actions=self._signals.told(),
            loggers=self._keeper.loggers(),
            cleared=self._cleared if self._bulletin.state in FINAL else None,
            worker=self._child.identity if self._child is not None else None,
            supervisor=self._me,
            **self._progress.fields(),
        )

    def _on_signal(self, number: int, frame: Any) -> None:
        self._terminated |= number != signal.SIGHUP
