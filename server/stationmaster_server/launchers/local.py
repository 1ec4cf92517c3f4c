"""Runs an attempt on this machine: one worker, its supervisor detached from this server.

The seam of a launcher: `worker_argv` makes the worker's command, `start` sets an attempt going.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from stationmaster_trainer.rundir import AttemptDir, RunDir

from ..detach import spawn


def worker_argv(python: str, run: RunDir, attempt: AttemptDir) -> tuple[str, ...]:
    """The worker's command: a script path below the run's `lib/`, so that no module of the project can shadow ours."""
    return (python, str(run.lib / "stationmaster_worker.py"), str(attempt.path))


def recorder_argv(run: RunDir, attempt: AttemptDir) -> tuple[str, ...]:
    """The recorder's command: this server's Python, which has the loggers' packages."""
    return (sys.executable, str(run.lib / "stationmaster_recorder.py"), str(attempt.path))


def start(run: RunDir, attempt: AttemptDir, env: Mapping[str, str]) -> int:
    """Starts the attempt's supervisor; any number of calls end in one, because only one gets the lock. Its pid.

    `env` is the supervisor's environment: it holds the values of the variables that `launch.json` only names.
    """
    command = [sys.executable, "-I", "-S", str(run.lib / "stationmaster_supervisor.py"), str(attempt.path)]
    return spawn(command, cwd=run.path, env=env, stderr=attempt.supervisor_log)
