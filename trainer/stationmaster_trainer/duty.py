"""The process that supervises a run: its lock, its device, then one attempt after another, as rollbacks begin them."""

from __future__ import annotations

import os
from pathlib import Path

from . import codec, orders, process, rundir
from .contract import Spec
from .logfile import say
from .rundir import AttemptDir, RunDir
from .supervisor import Supervisor
from .turn import Turn


def main(attempt_path: str) -> int:
    """Supervises the attempt. Exit code 3: another supervisor has the run; 4: the attempt was begun before."""
    given = AttemptDir(Path(attempt_path).absolute())
    home = given.path.parent.parent
    os.chdir(home)
    run = RunDir(Path("."))
    lock = process.take_lock(run.lock, wait_seconds=2.0)
    if lock is None:
        say("another supervisor holds this run")
        return 3
    if orders.taken(run.attempt(given.number)) or run.attempts()[-1].number != given.number:
        say("this attempt was begun before")
        return 4
    process.become_subreaper()
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    attempt: AttemptDir | None = run.attempt(given.number)
    turn = Turn(home, run, run.attempt(given.number), spec, orders.read(run.attempt(given.number)))
    seat = turn.come()
    while attempt is not None and not turn.over:
        attempt = Supervisor(home, run, attempt, spec, orders.read(attempt), seat).run()
    return 0
