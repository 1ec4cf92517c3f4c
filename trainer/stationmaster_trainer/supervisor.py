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

from . import codec, ladder, logfile, oom, process, rundir
from .alertbook import AlertBook, earlier_episodes
from .child import Child
from .contract import Checkpoint, Eval, Finished, Launch, Record, Spec, Started, Status, Train
from .ending import Ending, decide
from .keeper import Keeper
from .logfile import say
from .progress import Progress
from .reporter import requests
from .rundir import AttemptDir, RunDir
from .states import check_move
from .statusfile import StatusFile
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


class Supervisor:
    """One attempt of one run; the caller holds the lock and has made the run folder the working folder."""

    def __init__(self, home: Path, run: RunDir, attempt: AttemptDir, spec: Spec, launch: Launch) -> None:
        self._home, self._folder = home, rundir.identity(Path("."))
        self._attempt, self._spec, self._launch = attempt, spec, launch
        self._file = StatusFile(run, say)
        self._progress = Progress(spec)
        self._follower = Follower(run, launch.attempt)
        self._alerts = AlertBook(attempt.alerts, spec, say, earlier_episodes(run, launch.attempt))
        self._keeper = Keeper(run, launch.recorder_argv, attempt.recorder_log, say)
        self._witness = oom.KernelWitness()
        self._start, self._started = time.monotonic(), time.time()
        self._watchdog = Watchdog(self._start, floor=launch.stall_seconds, first=launch.first_stall_seconds)
        self._earlier: dict[int, float] = {}
        self._state, self._message, self._way_out, self._where = "queued", "", "", ""
        self._cause: str | None = None
        self._child: Child | None = None
        self._me = process.identify(os.getpid())
        self._cpu_then = 0.0
        self._last_record_at: float | None = None
        self._terminated = self._gone = False
        self._written_at = self._chores_at = 0.0
        self._due = True
        self._complained = ""

    def run(self) -> None:
        """The whole attempt. Returns when the final status is written, or the run folder is gone."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._read(self._start + READ_SECONDS)
        self._move("starting")
        self._write_status()
        try:
            child = self._child = Child(self._launch, self._attempt.worker_log, self._rung)
        except OSError as error:
            way_out = "Check the path of the Python that trains, and the project folder."
            self._end(Ending("failed", "exception", f"the worker cannot be started: {error}", way_out))
            return
        say(f"worker started: pid {child.pid}")
        self._due = True
        while (code := child.exit_code()) is None:
            try:
                self._look(child)
            except Exception:  # whatever it is: without a supervisor the training would stop
                self._complain(traceback.format_exc())
            time.sleep(TICK)
        self._worker_ended(child, code)

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
        if caught_up and (self._due or now - self._written_at >= STATUS_SECONDS):
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
        self._watchdog.heard(self._last_record_at, self._progress.phase)
        if isinstance(record, (Started, Train)) and self._state == "starting":
            self._move("running")
        news = [self._alerts.clear("stall", self._progress.step), self._alerts.see(record)]
        self._due |= any(news) or isinstance(record, (Started, Eval, Checkpoint))
        if self._child is not None:
            self._cpu_then = process.cpu_seconds(self._child.pid)

    def _obey(self, child: Child, now: float) -> None:
        """Requests to stop, by control file or by a signal to this process; and a worker that has ended but stays."""
        if child.ladder.asked_at is None:
            if any(name.endswith("-stop.json") for name in requests(self._attempt)):
                self._stop(child, "user", now)
            elif self._terminated:
                say("this supervisor got SIGTERM and passes it on")
                child.ask()
                self._stop(child, "user", now)
        ended = self._progress.finished or self._progress.failure
        if ended and self._last_record_at is not None and now - self._last_record_at > LINGER_SECONDS:
            child.ladder.ask(now, 0.0)

    def _stop(self, child: Child, cause: str, now: float) -> None:
        self._cause = cause
        self._move("stopping")
        child.ladder.ask(now)

    def _notice_pause(self, child: Child, now: float) -> None:
        paused = child.paused
        if paused:
            self._watchdog.restart(now)
        if paused and self._state == "running":
            self._move("paused", "The worker is held by SIGSTOP; SIGCONT lets it go on.")
        elif not paused and self._state == "paused":
            self._move("running")

    def _notice_silence(self, child: Child, now: float) -> None:
        silent = self._watchdog.overdue(now)
        if silent is None or self._state not in ("starting", "running"):
            return
        busy = process.cpu_seconds(child.pid) - self._cpu_then
        limit, phase = self._watchdog.limit, self._watchdog.phase
        if self._alerts.stalled(self._progress.step, silent, limit, phase, busy, self._attempt.stacks):
            child.dump_stacks()
            self._due = True

    def _chores(self, child: Child, now: float) -> None:
        """Once a second: the recorder alive, orphans reaped, logs within bounds, the folder still the same."""
        if not self._gone and self._folder_lost():
            self._gone = True
            say("the run folder was deleted or replaced: the worker is asked to stop")
            child.ask()
            self._stop(child, "run_folder_gone", now)
        if self._gone:
            return
        self._keeper.tick(now)
        self._due |= self._alerts.logging(self._progress.step, self._keeper.trouble())
        self._alerts.chores(self._progress.step)
        ladder.reap({child.pid, self._keeper.pid})
        if logfile.cap(self._attempt.worker_log):
            say("worker.log was longer than its limit; its middle was cut out")

    def _worker_ended(self, child: Child, code: int) -> None:
        """Drains the stream once more, then decides."""
        say(f"worker ended with exit code {code}")
        try:
            self._read(time.monotonic() + 3600.0)
        except Exception:
            self._complain(traceback.format_exc())
        ending = decide(
            code,
            self._progress.finished,
            self._progress.failure,
            stop_cause=self._cause,
            killed=child.ladder.killed,
            oom_evidence="" if child.ladder.killed else self._witness.killed(child.pid),
            peak_bytes=oom.peak_memory_bytes(),
            last_words=logfile.last_line(self._attempt.worker_log),
        )
        left = ladder.clear_tree({self._keeper.pid}, say)
        if left:
            ending = dataclasses.replace(ending, message=f"{ending.message} Processes {left} could not be ended.")
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        """Writes the truth: final.json first, which tells the recorder to finish, then the status."""
        self._alerts.clear("stall", self._progress.step)
        self._move(ending.state, ending.message)
        self._cause, self._way_out, self._where = ending.cause, ending.way_out, ending.where
        say(f"{self._cause}: {self._message}")
        if self._gone or self._folder_lost():
            return
        ended = time.time()
        self._file.release()
        try:
            rundir.create(self._attempt.final, codec.dumps(self._status(ended), indent=1).encode("utf-8", "replace"))
        except OSError as error:
            say(f"final.json cannot be written: {error}")
        self._keeper.wait(RECORDER_SECONDS)
        self._alerts.logging(self._progress.step, self._keeper.trouble())
        deadline = time.monotonic() + DISK_FULL_SECONDS
        while not self._write_status(ended) and time.monotonic() < deadline and not self._folder_lost():
            time.sleep(1.0)

    def _folder_lost(self) -> bool:
        return rundir.identity(self._home) != self._folder

    def _move(self, to: str, message: str = "") -> None:
        if to != self._state:
            check_move(self._state, to)
            self._state, self._message, self._due = to, message, True
            say(f"state: {to}")

    def _rung(self, line: str) -> None:
        say(line)
        self._message, self._due = f"Worker: {line}.", True

    def _complain(self, text: str) -> None:
        if text != self._complained:
            self._complained = text
            say(text)

    def _write_status(self, ended: float | None = None) -> bool:
        self._written_at, self._due = time.monotonic(), False
        return not self._gone and self._file.write(self._status(ended))

    def _status(self, ended: float | None) -> Status:
        fields = self._progress.fields()
        if ended is not None:
            fields["eta_seconds"] = None
        return Status(
            run=self._spec.config.run_name,
            attempt=self._launch.attempt,
            state=self._state,
            revision=self._file.revision + 1,
            updated=time.time(),
            started=self._started,
            ended=ended,
            cause=self._cause,
            message=self._message,
            way_out=self._way_out,
            where=self._where,
            elapsed=sum(self._earlier.values()) + time.monotonic() - self._start,
            resumed_from=self._launch.resume_step,
            alerts_open=self._alerts.shown(),
            alerts_total=self._alerts.total,
            not_checked=self._alerts.not_checked,
            loggers=self._keeper.loggers(),
            worker=self._child.identity if self._child is not None else None,
            supervisor=self._me,
            **fields,
        )

    def _on_signal(self, number: int, frame: Any) -> None:
        self._terminated |= number != signal.SIGHUP


def main(attempt_path: str) -> int:
    """Supervises the attempt. Exit code 3: another supervisor has the run; 4: the attempt was begun before."""
    given = AttemptDir(Path(attempt_path).absolute())
    home = given.path.parent.parent
    os.chdir(home)
    run = RunDir(Path("."))
    attempt = run.attempt(given.number)
    lock = process.take_lock(run.lock, wait_seconds=2.0)
    if lock is None:
        say("another supervisor holds this run")
        return 3
    if attempt.worker_log.exists() or run.attempts()[-1].number != attempt.number:
        say("this attempt was begun before")
        return 4
    process.become_subreaper()
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    launch = codec.loads(Launch, rundir.read(attempt.launch), f"{attempt.launch}")
    Supervisor(home, run, attempt, spec, launch).run()
    return 0
