"""The process that trains: loads the spec, hands over to the adapter, says how it ended. The supervisor starts it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from . import codec, confirmed, failure, plugins, redact, rundir
from .contract import SCRIPT, Finished, Launch, Spec
from .ending import EXIT_DISK_ERROR, EXIT_DISK_FULL
from .reporter import Outcome, Reporter
from .rundir import AttemptDir, RunDir

EXIT_FAILED = 1
EXITS = {"disk_full": EXIT_DISK_FULL, "disk_error": EXIT_DISK_ERROR}
"""Cause → exit code, where the log cannot be written."""
RECORD_SECONDS = 30.0
"""How long the training waits for the record of what it runs with; git or nvidia-smi may hang."""


def main(attempt_path: str) -> int:
    """Trains one attempt and returns the exit code. A `SystemExit` of the user's code passes through: no success."""
    attempt = AttemptDir(Path(attempt_path).absolute())
    spec = codec.loads(Spec, rundir.read(RunDir(attempt.path.parent.parent).spec), "spec.json")
    launch = codec.loads(Launch, rundir.read(attempt.launch), "launch.json")
    stacks = os.open(attempt.stacks, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    reporter = Reporter(attempt, spec)
    _stop_on_signal(reporter)
    record = threading.Thread(target=_record_environment, args=(attempt, spec, launch), daemon=True)
    record.start()
    try:
        code = _train(spec, launch, reporter, record)
        reporter.close()
        return code
    except OSError as error:  # the log itself cannot be written any more
        _print_traceback()
        return EXITS.get(failure.cause_of(error), EXIT_FAILED)


def _train(spec: Spec, launch: Launch, reporter: Reporter, record: threading.Thread) -> int:
    try:
        reporter.phase("import")
        confirmed.hold(spec)
        adapter = _adapter(spec.config.framework)
        record.join(RECORD_SECONDS)  # it was written while the framework loaded: before the first step
        if not reporter.attempt.environment.exists():
            reporter.note("environment.json could not be written before the training", level="warning")
        outcome: Outcome = adapter.train(spec, launch, reporter)
    except SystemExit:
        reporter.close()
        raise
    except BaseException as error:
        _print_traceback()
        reporter.write(failure.describe(error, spec, step=reporter.step, elapsed=reporter.elapsed()))
        reporter.flush()
        return EXIT_FAILED
    reporter.ack(outcome.step)
    reporter.write(_finished(outcome, reporter))
    reporter.flush()
    return 0


def _adapter(framework: str) -> Any:
    """What trains; of a script that runs as it is, what runs it."""
    if framework == SCRIPT:
        from . import adopted

        return adopted
    return plugins.find("adapters", framework)


def _print_traceback() -> None:
    """Into worker.log, for people, secrets removed; on a full disk there is no log to write to."""
    with contextlib.suppress(OSError):
        sys.stderr.write(redact.text(traceback.format_exc(), redact.values()))


def _finished(outcome: Outcome, reporter: Reporter) -> Finished:
    return Finished(
        time=time.time(),
        elapsed=reporter.elapsed(),
        step=outcome.step,
        reason=outcome.reason,
        train_seconds=outcome.train_seconds,
        samples=outcome.samples,
    )


def _stop_on_signal(reporter: Reporter) -> None:
    """SIGTERM and SIGINT ask once, like a request to stop; when a stop was asked for already, they end the process."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner and reporter.stop_requested is None:
            reporter.request_stop_by_signal()
            return
        signal.signal(number, signal.SIG_DFL)  # a forked data-loader process, or the second time
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _record_environment(attempt: AttemptDir, spec: Spec, launch: Launch) -> None:
    from . import environment

    try:
        environment.write(attempt, spec, launch)
    except OSError as error:
        print(f"environment.json could not be written: {error}", file=sys.stderr)
