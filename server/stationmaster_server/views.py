"""What a run's folder says of its state, for a reader that came late: nothing is written, a damaged file is named.

`lost` is derived here: the supervisor's lock is free and no final state was written. The worker's own last record, if
there is one, tells the truth then.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from stationmaster_trainer import codec, ledger, process, rundir, stream
from stationmaster_trainer.contract import (
    SCRIPT,
    Checkpoint,
    Eval,
    Failure,
    Finished,
    LoggerState,
    Record,
    Spec,
    Started,
    Status,
    Train,
)
from stationmaster_trainer.ending import DISK_ERROR, Ending, of_failure, of_finished, of_script
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.orders import begun
from stationmaster_trainer.rundir import AttemptDir, RunDir
from stationmaster_trainer.states import DERIVED, FINAL

from . import mounts, place

MAX_BYTES = 4 << 20
"""Bytes of the largest status or spec that is read."""
STALE_SECONDS = 5.0
"""Age of a status of a run that goes on, from which it is asked whether it can be written at all."""
TAIL = 16 << 10
"""Bytes that are read of the end of a log."""
MAX_THREADS, MAX_STACK = 4, 260
_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (.+)')
RESUME = "Resume from the newest verified checkpoint (resume_run)."


@dataclass(frozen=True)
class RunView:
    """One run at one moment."""

    run: RunDir
    status: Status
    """As the supervisor wrote it, or with the derived state, cause and message in place."""
    attempt: int
    """Newest attempt; 0 when there is none yet."""
    alive: bool
    """Whether a supervisor holds the run's lock."""
    worker_alive: bool
    created: float
    """Wall clock of the creation."""
    problems: tuple[str, ...] = ()
    """Files that are damaged, each with what is lost."""

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def state(self) -> str:
        """A key of `states.MOVES`, or `lost`."""
        return self.status.state

    @property
    def over(self) -> bool:
        """Whether nothing will happen any more without a resume."""
        return self.state in FINAL or (self.state == DERIVED and not self.worker_alive)


def view(run: RunDir) -> RunView:
    """Reads a run. Raises RunError when there is no such folder; damage inside it becomes a problem, not an error."""
    if not run.path.is_dir():
        raise RunError(f"there is no run {run.name!r}.")
    alive = process.is_locked(run.lock)  # before the status: what a dead supervisor wrote is complete by then
    problems: list[str] = []
    status = _of_here(run, _read(run.status, problems), alive)
    newest = next(reversed(run.attempts()), None)
    if newest is None or (not begun(newest) and not alive and not _taken_up(newest, status)):
        status = _queued(run, newest.number if newest else 0, status)
    elif status is None or status.attempt != newest.number:
        status = _from_stream(run, newest, "starting" if alive else DERIVED, status.revision if status else 0)
        if not alive:
            status = _derived(newest, status)
    elif not alive and status.state not in FINAL:
        status = _derived(newest, status)
    if not alive and status.state in (*FINAL, DERIVED) and "esume" in status.way_out:
        status = _of_script(run, status)
    if status.state not in FINAL and newest is not None and time.time() - status.updated > STALE_SECONDS:
        status = _on_a_failing_disk(run, status, problems)
    if status.state in FINAL:
        status = replace(status, loggers=_loggers(run) or status.loggers)
    return RunView(
        run=run,
        status=status,
        attempt=newest.number if newest else 0,
        alive=alive,
        worker_alive=status.worker is not None and process.is_alive(status.worker),
        created=_created(run),
        problems=tuple(problems),
    )


def last_lines(view: RunView, most: int = 4) -> list[str]:
    """What the worker printed last, without the traceback behind it: untrusted. Empty unless the run broke off."""
    if view.state != "failed" or view.status.cause not in ("exception", "oom", "exited_early", "signal"):
        return []
    try:
        data = rundir.read(view.run.attempt(view.attempt).worker_log, TAIL, tail=True)
    except (OSError, FormatError):
        return []
    text = data.decode("utf-8", "replace")
    if view.status.where or view.status.cause == "exception":
        text = text.rpartition("Traceback (most recent call last):")[0] or text
    said, crash, dump = text.rpartition("Fatal Python error:")
    if not crash:
        return _lines(text)[-most:]
    frames = [_frame(line, view) for line in _lines(dump) if line.startswith("File ")]
    return [*_lines(said)[-most:], f"{crash} {dump.partition(chr(10))[0].strip()}"[:200], *frames[:2]]


def _lines(text: str) -> list[str]:
    return [line.strip()[:200] for line in re.split(r"[\r\n]+", text) if line.strip()]


def stacks(view: RunView) -> list[str]:
    """Where each thread of a silent worker stands, innermost frame first, from the newest dump; untrusted."""
    if not any(alert.rule == "stall" for alert in view.status.alerts_open):
        return []
    try:
        data = rundir.read(view.run.attempt(view.attempt).stacks, TAIL, tail=True).decode("utf-8", "replace")
    except (OSError, FormatError):
        return []
    blocks = [block.splitlines() for block in re.split(r"(?=^(?:Current thread|Thread) 0x)", data, flags=re.MULTILINE)]
    found, seen = [], set()
    for block in reversed(blocks):
        if len(block) > 1 and block[0].split(" (")[0].split()[-1] not in seen:
            seen.add(block[0].split(" (")[0].split()[-1])
            found.append(" < ".join(_frame(line, view) for line in block[1:] if line.strip())[:MAX_STACK])
    return found[::-1][:MAX_THREADS]


def _frame(line: str, view: RunView) -> str:
    """`model.py:7 forward` for a line of faulthandler."""
    found = _FRAME.search(line)
    if found is None:
        return line.strip()[:80]
    path, number, name = found.groups()
    project = f"{view.run.path.parent.parent.resolve()}/"
    short = path.removeprefix(project) if path.startswith(project) else path.rpartition("/")[2]
    return f"{short}:{number} {name}"


def read_spec(run: RunDir) -> Spec:
    """The run's spec. FormatError names the file when it is missing or damaged."""
    return codec.loads(Spec, rundir.read(run.spec, MAX_BYTES), str(run.spec))


def _of_here(run: RunDir, status: Status | None, alive: bool) -> Status | None:
    """Without the worker where that trains another folder, of which this one is a copy."""
    if alive or status is None or status.worker is None or not process.is_alive(status.worker):
        return status
    try:
        return replace(status, worker=None) if place.is_copy(run, read_spec(run)) else status
    except (FormatError, OSError):
        return status


def _derived(attempt: AttemptDir, status: Status) -> Status:
    """The true state of an attempt whose supervisor is gone without a final status."""
    written = _read(attempt.final, [])
    if written is not None and written.state in FINAL:
        return replace(written, revision=max(written.revision, status.revision))
    records = _last_records(attempt)
    status = _newer(status, records)
    for record in reversed(records):
        if isinstance(record, Finished):
            return _ended(status, of_finished(record), record.time)
        if isinstance(record, Failure):
            return _ended(status, of_failure(record), record.time)
    return _lost(status)


def _lost(status: Status) -> Status:
    worker = status.worker
    if status.state == "queued":
        return _lost_in_queue(status)
    if worker is not None and process.is_alive(worker):
        message = "The supervisor is gone; the worker is still there and saves and stops itself."
        return replace(status, state=DERIVED, cause="supervisor_gone", message=message, way_out="Look again soon.")
    if worker is not None and worker.boot_id and worker.boot_id != process.boot_id():
        message = f"The machine was restarted while the run was at step {status.step}."
        return replace(status, state=DERIVED, cause="rebooted", message=message, way_out=RESUME)
    message = f"Supervisor and worker are gone without a word; the last step known is {status.step}."
    return replace(status, state=DERIVED, cause="supervisor_gone", message=message, way_out=RESUME)


def _of_script(run: RunDir, status: Status) -> Status:
    """What was derived, in the words for a run that cannot be resumed, if it is one."""
    try:
        script = read_spec(run).config.framework == SCRIPT
    except (FormatError, OSError):
        return status
    if not script or status.state == "succeeded" or status.checkpoint is not None:
        return status
    ending = of_script(Ending(status.state, status.cause or "", status.message, status.way_out))
    return replace(status, message=ending.message, way_out=ending.way_out)


def _on_a_failing_disk(run: RunDir, status: Status, problems: list[str]) -> Status:
    """Nobody could write what became of it: says so, and why it was lost."""
    fault = mounts.unwritable(run.path)
    if not fault:
        return status
    if status.state != DERIVED:
        problems.append(f"{fault}; what is shown here may be old")
        return status
    message = f"Its end could not be written: {fault}. The last step known is {status.step}."
    return replace(status, cause="disk_error", message=message, way_out=DISK_ERROR)


def _lost_in_queue(status: Status) -> Status:
    waited = status.supervisor
    rebooted = waited is not None and waited.boot_id and waited.boot_id != process.boot_id()
    what = "The machine was restarted" if rebooted else "Its supervisor was killed"
    message, cause = f"{what} while the run waited for its turn; nothing was begun.", "supervisor_gone"
    way_out = "Start it again: resume_run."
    return replace(
        status, state=DERIVED, cause="rebooted" if rebooted else cause, message=message, way_out=way_out, worker=None
    )


def _ended(status: Status, ending: Ending, when: float) -> Status:
    return replace(
        status,
        state=ending.state,
        cause=ending.cause,
        message=f"{ending.message} (The supervisor died before it could say so.)",
        way_out=ending.way_out,
        where=ending.where,
        ended=when,
        eta_seconds=None,
    )


def _taken_up(attempt: AttemptDir, status: Status | None) -> bool:
    """Whether a supervisor had this attempt, and perhaps waited with it, before its worker was started."""
    return attempt.final.exists() or (
        status is not None and status.supervisor is not None and status.attempt == attempt.number
    )


def _queued(run: RunDir, attempt: int, earlier: Status | None) -> Status:
    """Nothing has been started yet, or nothing since the end of an earlier attempt, whose numbers still stand."""
    status = earlier or Status(run.name, attempt, "queued", 0, time.time(), _created(run))
    return replace(
        status,
        attempt=attempt,
        state="queued",
        cause=None,
        message="Created and not started yet.",
        way_out="",
        where="",
        ended=None,
        worker=None,
    )


def _from_stream(run: RunDir, attempt: AttemptDir, state: str, revision: int) -> Status:
    """A status made from what else is there, when the file itself is damaged or of an earlier attempt."""
    status = Status(run.name, attempt.number, state, revision, time.time(), _created(run))
    try:
        status = replace(status, total_steps=read_spec(run).config.total_steps)
    except (FormatError, OSError):
        pass
    return _newer(status, _last_records(attempt))


def _newer(status: Status, records: list[Record]) -> Status:
    """The status brought up to the last records of the stream."""
    for record in records:
        status = replace(status, step=max(status.step, getattr(record, "step", 0)))
        if isinstance(record, Train):
            status = replace(
                status,
                loss=record.loss,
                epoch=record.epoch,
                samples=record.samples,
                learning_rate=record.learning_rate,
                grad_norm=record.grad_norm,
            )
        elif isinstance(record, Eval):
            status = replace(status, eval=record)
        elif isinstance(record, Checkpoint):
            status = replace(status, checkpoint=record)
        elif isinstance(record, Started):
            status = replace(status, device=record.device)
    return status


def _last_records(attempt: AttemptDir) -> list[Record]:
    try:
        return stream.last_records(attempt.stream)
    except FormatError:
        return []


def _read(path: Path, problems: list[str]) -> Status | None:
    try:
        return codec.loads(Status, rundir.read(path, MAX_BYTES), path.name)
    except FileNotFoundError:
        return None
    except (OSError, FormatError) as error:
        problems.append(f"{error}; state and numbers are taken from the stream")
        return None


def _loggers(run: RunDir) -> tuple[LoggerState, ...]:
    """The loggers' newest word: a recorder may outlive its supervisor to finish an upload."""
    return tuple(entry.logger for entry in ledger.load(run).entries)


def _created(run: RunDir) -> float:
    for path in (run.spec, run.path):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0
