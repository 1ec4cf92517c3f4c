"""Carries the stream to the loggers in a process of its own: csv and json always, TensorBoard and others where chosen.

Runs in the server's Python. It ends by itself when the attempt is over and everything is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import codec, ledger, process, rundir
from .contract import LoggerState, Spec, Status
from .errors import FormatError
from .feeder import Feeder
from .ledger import Entry, Ledger
from .logfile import say
from .rundir import AttemptDir, RunDir

LOOK_SECONDS = 0.1
SAVE_SECONDS = 1.0
"""Between two savings of the cursor; after a crash the loggers are cut back to it."""
CLOSE_SECONDS = 600.0
"""How long loggers may take to close (an upload) before the process ends without them."""
LOCK_SECONDS = 660.0
"""How long to wait for the recorder of an earlier attempt."""
ORPHAN_SECONDS = 5.0
"""Silence of a stream after which a worker that nobody knows counts as gone."""

CHOICES: dict[str, tuple[str, ...]] = {"file": (), "tensorboard": ("tensorboard",), "wandb": ("wandb",)}
"""Choice of the configuration → loggers beside csv and json, which always run."""


def chosen(spec: Spec) -> list[str]:
    """Names of the loggers of a run. A choice that is not in the table is a logger's own name."""
    names = ["csv", "json"]
    for choice in spec.config.logging:
        names.extend(name for name in CHOICES.get(choice, (choice,)) if name not in names)
    return names


def main(attempt_path: str) -> int:
    """Records until the attempt is over. Exit code 3: another recorder keeps the run's files."""
    given = AttemptDir(Path(attempt_path).absolute())
    home = given.path.parent.parent
    os.chdir(home)
    run = RunDir(Path("."))
    folder = rundir.identity(Path("."))
    lock = process.take_lock(run.recorder_lock, wait_seconds=LOCK_SECONDS)
    if lock is None:
        say("another recorder keeps the files of this run")
        return 3
    _sweep(run)
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    known = {entry.logger.name: entry for entry in ledger.load(run).entries}
    fresh = {name: Entry(LoggerState(name, "")) for name in chosen(spec)}
    feeders = [Feeder(run, spec, given.number, known.get(name, entry), say) for name, entry in fresh.items()]
    for feeder in feeders:
        feeder.thread.start()
    over = _over(run, run.attempt(given.number))
    saver = Saver(run, feeders)
    while not over() and rundir.identity(home) == folder:
        saver.save(SAVE_SECONDS)
        time.sleep(LOOK_SECONDS)
    if rundir.identity(home) != folder:
        os._exit(0)  # a logger that ended in an orderly way would write into the new folder of that name
    _finish(saver, feeders)
    return 0


def _finish(saver: Saver, feeders: list[Feeder]) -> None:
    """Waits for every logger, a bounded time; what hangs is left behind and told."""
    for feeder in feeders:
        feeder.finish()
    deadline = time.monotonic() + CLOSE_SECONDS
    while any(feeder.thread.is_alive() for feeder in feeders) and time.monotonic() < deadline:
        saver.save(0.2)
        time.sleep(0.02)
    saver.save(0.0)
    if any(feeder.thread.is_alive() for feeder in feeders):
        say("a logger did not close in time")
        os._exit(0)  # its threads would keep the process


class Saver:
    """Saves the ledger of some feeders, and the lines of others as they were, when it has changed, not too often."""

    def __init__(self, run: RunDir, feeders: list[Feeder], others: tuple[Entry, ...] = ()) -> None:
        self._run, self._feeders, self._others = run, feeders, others
        self._saved, self._at = Ledger(), 0.0

    def save(self, pause: float) -> None:
        """Saves when `pause` seconds are over since the last time, or at once when a logger waits for it."""
        waiting = [feeder for feeder in self._feeders if feeder.must_save.is_set()]
        own = tuple(replace(feeder.entry, logger=feeder.state) for feeder in self._feeders)
        found = Ledger((*self._others, *own))
        if not waiting and (found == self._saved or time.monotonic() - self._at < pause):
            return
        try:
            ledger.save(self._run, found)
        except OSError as error:
            say(f"recorder.json cannot be written: {error}")
            return
        self._saved, self._at = found, time.monotonic()
        for feeder in waiting:
            feeder.must_save.clear()


def _over(run: RunDir, attempt: AttemptDir) -> Callable[[], bool]:
    """Tells whether no record will come any more: the final file is there, or neither supervisor nor worker lives."""
    quiet_since, size = time.monotonic(), -1

    def over() -> bool:
        nonlocal quiet_since, size
        if attempt.final.exists():
            return True
        now = _size(attempt.stream)
        if now != size:
            quiet_since, size = time.monotonic(), now
        if process.is_locked(run.lock):
            return False
        worker = _worker(run, attempt)
        if worker is not None:
            return not worker
        return time.monotonic() - quiet_since > ORPHAN_SECONDS

    return over


def _worker(run: RunDir, attempt: AttemptDir) -> bool | None:
    """Whether this attempt's worker lives; None when the status does not say."""
    try:
        status = codec.loads(Status, rundir.read(run.status), "status.json")
    except (OSError, FormatError):
        return None
    if status.attempt != attempt.number or status.worker is None:
        return None
    return process.is_alive(status.worker)


def _sweep(run: RunDir) -> None:
    """Removes what a kill in the middle of a replacement left."""
    for name in (run.recorder.name, run.metrics_csv.name, run.metrics_jsonl.name):
        for path in run.path.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
