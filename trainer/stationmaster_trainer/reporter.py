"""What an adapter writes its facts to: a thread puts records into `stream.jsonl`, requests come back as flags.

The training loop pays for one append to a list. Not covered: ranks other than 0, which write nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from . import actions, codec, control, process, rundir
from .contract import Ack, Action, Checkpoint, Failure, Finished, Note, Phase, Record, Spec, Started, Train
from .control import requests
from .rundir import AttemptDir, RunDir

LOOK_SECONDS = 0.25
"""Between two looks at `control/`, the lock and the run folder, and the longest that a row waits to be written."""
BEAT_SECONDS = 10.0
"""Silence after which the thread tells the step itself, so that slow steps are seen to go on."""
PATIENCE_SECONDS = 20.0
"""How long rows may fail to be written before training stops: without its log it must not go on."""

_DURABLE = (Action, Checkpoint, Failure, Finished)
StopReason = Literal["user", "budget", "rule", "rollback", "supervisor_gone", "run_folder_gone"]
_REASONS: dict[str, StopReason] = {
    "stop.json": "user",
    "budget_stop.json": "budget",
    f"{actions.STOP}.json": "rule",
    f"{actions.ROLLBACK}.json": "rollback",
}
"""End of a control file's name → why it asks to end."""


@dataclass(frozen=True)
class Outcome:
    """What an adapter's `train(spec, launch, reporter)` returns; the worker makes the `finished` record of it."""

    reason: str
    """`completed`, `early_stopping`, or the reporter's `stop_requested`."""
    step: int
    samples: int
    """Training samples seen since step 0."""
    train_seconds: float
    """Seconds of training in this attempt, validation and saving included."""


class Reporter:
    """One per worker. `write` and the flags are cheap enough for every step; `close` waits until all is on disk."""

    def __init__(self, attempt: AttemptDir, spec: Spec, path: Path | None = None, began: float | None = None) -> None:
        """`path`: another file than the attempt's stream; `began`: when the worker did, on the monotonic clock."""
        self.attempt = attempt
        self.spec = spec
        self._start = time.monotonic() if began is None else began
        self._run = RunDir(attempt.path.parent.parent)
        self._folder = rundir.identity(self._run.path)
        self._descriptor = os.open(path or attempt.stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._queue: deque[Record] = deque()
        self._pending = b""
        self._urgent = threading.Event()
        self._writing = threading.Lock()
        self._stop: StopReason | None = None
        self._seen: list[str] = []
        self._acked: set[str] = set()
        self._lock_seen = False
        self._broken: OSError | None = None
        self._broken_since = 0.0
        self._closed = False
        self._phase, self._step, self._told = "import", 0, 0
        self._last_write = self._moved_at = time.monotonic()
        self._moved = 0
        self._look()
        self._thread = threading.Thread(target=self._run_thread, name="stationmaster-reporter", daemon=True)
        self._thread.start()

    def elapsed(self) -> float:
        """Seconds since the worker started; the `elapsed` of a record."""
        return time.monotonic() - self._start

    @property
    def step(self) -> int:
        """The newest step that was told."""
        return self._step

    @property
    def stop_requested(self) -> StopReason | None:
        """Why the training has to save and return, or None. Look at it after every optimizer step."""
        return self._stop

    @property
    def checkpoint_requested(self) -> bool:
        """Whether a checkpoint was asked for and `ack` has not answered yet."""
        return any(name.endswith("-checkpoint.json") and name not in self._acked for name in self._seen)

    def request_stop(self, reason: StopReason) -> None:
        """Asks the training to save and return; the first reason stands, but a lost folder or supervisor overrides."""
        if self._stop is None or (reason.endswith("_gone") and not self._stop.endswith("_gone")):
            self._stop = reason

    def request_stop_by_signal(self) -> None:
        """The same for a signal: the supervisor sends one as well when the run folder is gone."""
        self.request_stop("user" if self._in_place() else "run_folder_gone")

    def refresh(self) -> None:
        """Looks for requests now, not only at its next time."""
        self._look()

    def write(self, record: Record) -> None:
        """Queues a record. Raises the OSError of a log that could not be written for PATIENCE_SECONDS."""
        if self._broken is not None and time.monotonic() - self._broken_since > PATIENCE_SECONDS:
            raise self._broken
        self._queue.append(record)
        self._step = getattr(record, "step", self._step)
        if not isinstance(record, Train):
            self._urgent.set()

    def beat(self, step: int) -> None:
        """Tells the step that was just done; costs an assignment. It is written only when nothing else is for long."""
        self._step = step

    def started(self, device: str, precision: str, step: int = 0, samples: tuple[int, int] | None = None) -> None:
        """The adapter is ready: model, data and checkpoint are there, the first step follows.

        samples: those of training and of validation, where they were counted; else the plan's.
        """
        config, facts = self.spec.config, self.spec.facts
        train, val = samples or (facts.train_samples, facts.val_samples)
        self.write(
            Started(
                time=time.time(),
                elapsed=self.elapsed(),
                framework=config.framework,
                device=device,
                precision=precision,
                total_steps=config.total_steps,
                steps_per_epoch=facts.steps_per_epoch,
                train_samples=train,
                val_samples=val,
                parameters=facts.parameters,
                step=step,
            )
        )

    def phase(self, name: str, step: int = 0, output: int = 0) -> None:
        """The worker enters `import`, `data`, `model`, `resume`, `train`, `eval`, `save` or `finish`."""
        self._phase = name
        self.write(Phase(time.time(), self.elapsed(), name, step, output=output))

    def note(self, message: str, step: int = 0, level: Literal["info", "warning"] = "info", **facts: Any) -> None:
        """A fact worth telling that is no number of the curve."""
        self.write(Note(time.time(), self.elapsed(), step, message, level, facts))

    def ack(self, step: int) -> None:
        """Says that every request seen so far was obeyed at this step; of a rule's stop also what it was about."""
        for name in [name for name in self._seen if name not in self._acked]:
            self._acked.add(name)
            asked = actions.placed(self.attempt, name) if name.endswith(f"-{actions.STOP}.json") else None
            if asked is not None:
                self.write(replace(asked, time=time.time(), elapsed=self.elapsed(), step=step))
            self.write(Ack(time.time(), self.elapsed(), step, name))

    def obeyed(self, control: str, step: int) -> None:
        """Says that another process of the attempt obeyed this one request."""
        if control not in self._acked:
            self._acked.add(control)
            self.write(Ack(time.time(), self.elapsed(), step, control))

    def flush(self) -> None:
        """Writes and syncs what is queued, from the calling thread. Raises OSError when the log cannot be written."""
        self._flush(durable=True)

    def close(self) -> None:
        """Writes what is queued and ends the thread. Raises OSError when the log cannot be written."""
        if self._closed:
            return
        self._closed = True
        self._urgent.set()
        self._thread.join(5.0)
        self.flush()

    def _run_thread(self) -> None:
        while not self._closed:
            self._urgent.wait(LOOK_SECONDS)
            self._urgent.clear()
            try:
                self._look()
                self._beat()
                self._flush()
                self._broken = None
            except OSError as error:
                if self._broken is None:
                    self._broken, self._broken_since = error, time.monotonic()
                time.sleep(LOOK_SECONDS)

    def _beat(self) -> None:
        """This thread lives on when the training hangs: so it tells how long ago the step was done."""
        now = time.monotonic()
        if self._step != self._moved:
            self._moved, self._moved_at = self._step, now
        if now - self._last_write > BEAT_SECONDS and self._moved != self._told and not self._queue:
            ago = now - self._moved_at
            self._queue.append(Phase(time.time(), self.elapsed(), self._phase, self._moved, ago))

    def _flush(self, durable: bool = False) -> None:
        """Appends all queued records with one write; what a full disk did not take stays for the next time."""
        with self._writing:
            parts = [self._pending]
            while self._queue:
                record = self._queue.popleft()
                durable = durable or isinstance(record, _DURABLE)
                self._told = getattr(record, "step", self._told)
                parts.append(_line(record))
            self._pending = b"".join(parts)
            if not self._pending:
                return
            while self._pending:
                self._pending = self._pending[os.write(self._descriptor, self._pending) :]
            self._last_write = time.monotonic()
            if durable:
                os.fsync(self._descriptor)

    def _in_place(self) -> bool:
        return rundir.identity(self._run.path) == self._folder

    def _look(self) -> None:
        """Has someone asked for something, or has the run lost its folder or its supervisor?"""
        if not self._in_place():
            return self.request_stop("run_folder_gone")
        if process.is_locked(self._run.lock):
            self._lock_seen = True
        elif self._lock_seen:
            self.request_stop("supervisor_gone")
        names = sorted(requests(self.attempt), key=control.number)
        self._seen.extend(name for name in names if name not in self._seen)
        for name in self._seen:
            reason = _REASONS.get(name.partition("-")[2])
            if reason is not None:
                self.request_stop(reason)


def _line(record: Record) -> bytes:
    """A record that cannot be written must not take the others with it: it becomes a note that says so."""
    try:
        return codec.line(record)
    except (ValueError, TypeError, RecursionError) as error:
        message = f"a {record.kind} record could not be written: {type(error).__name__}: {error}"
        return codec.line(Note(record.time, record.elapsed, getattr(record, "step", 0), message, "warning"))
