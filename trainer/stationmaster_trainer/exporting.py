"""Sends a run that is over to one more logger, from its streams: every attempt, superseded rows left out.

It takes the recorder's place in the run folder, under the recorder's lock and in the recorder's ledger, so that a run
is exported once however often it is asked for.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import codec, ledger, plugins, process, rundir, wandb_account
from .contract import LoggerState, Spec
from .errors import RunError, StationmasterError
from .feeder import Feeder
from .ledger import Entry
from .logfile import say
from .recorder import Saver
from .rundir import RunDir

LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    logger: LoggerState
    already: bool = False
    """The run was there before; nothing was sent."""


def export(run_path: Path, name: str, again: bool) -> Exported:
    """Writes the run to this logger unless it is there already; with `again` in any case, to W&B as a new W&B run.

    Makes the run folder the working folder. Raises RunError while a recorder still works, and what the logger raises.
    """
    os.chdir(run_path)
    run = RunDir(Path("."))
    if process.take_lock(run.recorder_lock, wait_seconds=LOCK_SECONDS) is None:
        raise RunError(f"the recorder of run {run_path.name} is still writing.", "Try again when it has finished.")
    entries = ledger.load(run).entries
    known = next((entry for entry in entries if entry.logger.name == name), None)
    if known is not None and not again and _there(run, known):
        return Exported(known.logger, already=True)
    module = plugins.find("loggers", name)
    if again and hasattr(module, "forget"):
        module.forget(run)
    others = tuple(entry for entry in entries if entry.logger.name != name)
    return Exported(_feed(run, name, others))


def _feed(run: RunDir, name: str, others: tuple[Entry, ...]) -> LoggerState:
    """Everything from the first attempt on, as a recorder does it."""
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    feeder = Feeder(run, spec, run.attempts()[-1].number, Entry(LoggerState(name, "")), say)
    saver = Saver(run, [feeder], others)
    feeder.finish()
    feeder.thread.start()
    while feeder.thread.is_alive():
        saver.save(0.2)
        time.sleep(0.02)
    saver.save(0.0)
    if feeder.state.state == "degraded":
        raise RunError(f"run {spec.config.run_name} could not be written to {name}: {feeder.state.message}")
    return feeder.state


def _there(run: RunDir, entry: Entry) -> bool:
    """Whether this logger has all of the run, where it can still be found; an offline copy gives way to an upload."""
    last = run.attempts()[-1]
    stream = last.stream.stat().st_size if last.stream.exists() else 0
    if entry.logger.state != "ok" or (entry.attempt, entry.offset) != (last.number, stream):
        return False
    if entry.logger.name == "wandb" and not entry.mark.get("online"):
        account = wandb_account.account(os.environ)
        if account.mode == "online" and not wandb_account.unreachable(account.base_url):
            return False
    return "://" in entry.logger.where or (run.path / entry.logger.where).exists()


def main(run_path: str, name: str, again: str) -> int:
    """The child of `stationmaster export`: one JSON line, the answer or the error. Exit code 2 for an error."""
    try:
        print(codec.dumps(export(Path(run_path), name, again == "again")))
    except StationmasterError as error:
        print(codec.dumps({"message": error.message, "way_out": error.way_out}))
        return 2
    sys.stdout.flush()
    return 0
