"""The runs of a project: created whole, started once however often asked, found without a handle, asked to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stationmaster_trainer import actions, control, orders, process
from stationmaster_trainer.contract import Action, Identity, Launch, Spec, Status
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.logfile import last_line
from stationmaster_trainer.orders import begun
from stationmaster_trainer.rundir import RUNS, AttemptDir, RunDir

from . import leases, place
from .digest import SCRIPT
from .launchers import local
from .run_environment import RunEnvironment, run_environment
from .run_folder import create_run
from .views import RunView, read_spec, view

__all__ = [
    "Patience",
    "RunView",
    "create_run",
    "find_run",
    "list_runs",
    "request_checkpoint",
    "request_stop",
    "start_attempt",
    "view",
    "wait",
]

_POLL = 0.05
SLOW_SECONDS = 25.0
"""How much longer a supervisor may take that lives; a client cuts a call at 60."""
STARTS = 3
"""How often a supervisor is started that dies before it has taken over."""


@dataclass(frozen=True)
class Patience:
    """How long an attempt waits for its worker; the fields of `contract.Launch` of the same names."""

    grace_seconds: float = 60.0
    stall_seconds: float = 60.0
    first_stall_seconds: float = 600.0


def start_attempt(
    run: RunDir,
    python: str,
    *,
    device: str = "",
    changes: Mapping[str, Any] | None = None,
    resume_from: str | None = None,
    resume_step: int = 0,
    env: Mapping[str, str] | None = None,
    wait_seconds: float = 10.0,
    patience: Patience | None = None,
    again: bool = False,
    rollbacks: tuple[Action, ...] | None = None,
) -> RunView:
    """Starts the run, or continues it from a verified checkpoint, detached; the same order twice is one start.

    `rollbacks`: all of the run, when this order carries one out; None: those so far stay in force.

    Waits until the supervisor has taken over (0: not at all). Raises RunError when the folder is not where it was made,
    when the run goes on already with another order, when it has ended and nothing to resume from is given (with `again`
    it begins at step 0, as a new attempt), or when the supervisor does not come up.
    """
    spec = read_spec(run)
    place.require(run, spec, "started")
    if not os.access(python, os.X_OK):
        raise RunError(f"the Python {python} cannot be run.", "Name the interpreter of the environment that trains.")
    environment = run_environment(env)
    limits = {**orders.changes(run), **(changes or {})}
    attempt = _order(
        run, spec, python, resume_from, resume_step, environment, patience or Patience(), again, rollbacks,
        device or leases.device(spec), limits,
    )  # fmt: skip
    if attempt is not None and not begun(attempt):
        _bring_up(run, attempt, environment.supervisor, wait_seconds)
    return view(run)


def wait(run: RunDir, seconds: float) -> RunView | None:
    """Waits until the first step is done or the run is over, and returns the view; None when that takes longer."""
    deadline = time.monotonic() + seconds
    while True:
        found = view(run)
        if found.over or _waits(found) or (found.state not in ("queued", "starting") and found.status.loss is not None):
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL)


def _waits(found: RunView) -> bool:
    """Whether its supervisor waits for the device."""
    return found.alive and found.state == "queued" and found.status.supervisor is not None


def find_run(project: Path, name: str | None = None) -> RunDir:
    """The run of that name, or the newest one. RunError lists the known ones, newest first."""
    known = _run_dirs(project)
    if name is None:
        if not known:
            raise RunError(f"there is no run in {project}.", "Start one with start_run.")
        return known[0]
    for run in known:
        if run.name == name:
            return run
    names = ", ".join(run.name for run in known[:20]) or "none"
    raise RunError(f"there is no run {name!r} in {project}.", f"Known runs: {names}.")


def list_runs(project: Path) -> list[RunView]:
    """Every run of the project, newest first; a damaged one with its problem, never an exception."""
    return [_view_or_problem(run) for run in _run_dirs(project)]


def is_script(run: RunDir) -> bool:
    """Whether it is a script that runs as it is, of which nothing is saved here."""
    try:
        return read_spec(run).config.framework == SCRIPT
    except (OSError, FormatError):
        return False


def request_stop(
    run: RunDir, by: str = "assistant"
) -> tuple[Literal["requested", "already_requested", "not_running"], RunView]:
    """Asks a run to save and end. `not_running`: it is over, or was never started; nothing was written.

    `by`: who asks, a key of `control.BY`; the run's last words name it.
    """
    return _request(run, "stop", by)


def request_checkpoint(run: RunDir) -> tuple[Literal["requested", "already_requested", "not_running"], RunView]:
    """Asks a run for a checkpoint now; `already_requested` while an earlier request has not been obeyed."""
    return _request(run, "checkpoint")


def _request(
    run: RunDir, verb: str, by: str = "assistant"
) -> tuple[Literal["requested", "already_requested", "not_running"], RunView]:
    seen = view(run)
    if seen.over or seen.attempt == 0:
        return "not_running", seen
    attempt = run.attempt(seen.attempt)
    if not begun(attempt) and not seen.alive:
        return "not_running", seen
    if verb == "stop" and control.named(attempt, verb):
        return "already_requested", seen
    try:
        control.place(attempt, verb, {"verb": verb, "time": time.time(), "by": by})
    except OSError as error:
        raise RunError(f"the request cannot be written: {error.strerror}.", f"Check {attempt.control}.") from None
    return "requested", seen


def _order(
    run: RunDir,
    spec: Spec,
    python: str,
    resume_from: str | None,
    resume_step: int,
    environment: RunEnvironment,
    patience: Patience,
    again: bool,
    rollbacks: tuple[Action, ...] | None,
    device: str,
    changes: dict[str, Any],
) -> AttemptDir | None:
    """The attempt that has to be started for this order; None when it goes on already."""
    seen = _settled(run)
    number = max(1, seen.attempt)
    newest = run.attempt(number)
    stopped = seen.over and bool(control.named(newest, "stop"))  # nobody was left to obey it
    if seen.attempt and (orders.taken(newest) or stopped):
        if not seen.over:
            if seen.alive and orders.read(run.attempt(number)).resume_from == resume_from:
                return None
            raise RunError(f"run {run.name} is {seen.state} (step {seen.status.step}).", "Stop it first, or wait.")
        if resume_from is None and not again:
            raise RunError(f"run {run.name} has ended ({seen.state}).", "Resume it, or start a run of another name.")
        number += 1
    attempt = run.attempt(number)
    launch = Launch(
        attempt=number,
        argv=local.worker_argv(python, run, attempt),
        cwd=spec.project_dir,
        env=environment.written,
        recorder_argv=local.recorder_argv(run, attempt),
        resume_from=resume_from,
        resume_step=resume_step,
        env_names=environment.named,
        grace_seconds=patience.grace_seconds,
        stall_seconds=patience.stall_seconds,
        first_stall_seconds=patience.first_stall_seconds,
        rollbacks=actions.rollbacks(run) if rollbacks is None else rollbacks,
        lease=device,
        changes=changes,
    )
    orders.make(attempt, launch)
    return attempt


def _settled(run: RunDir, seconds: float = 5.0) -> RunView:
    """The view; a supervisor that has written its end and is just leaving is waited for."""
    deadline = time.monotonic() + seconds
    while (seen := view(run)).alive and seen.over and time.monotonic() < deadline:
        time.sleep(_POLL)
    return seen


def _bring_up(run: RunDir, attempt: AttemptDir, env: Mapping[str, str], seconds: float) -> None:
    """Starts the supervisor and waits until it has taken over; one that is killed before that is started again."""
    for _ in range(STARTS):
        supervisor = process.identify(local.start(run, attempt, env))
        if seconds <= 0 or _taken_over(run, attempt, supervisor, seconds):
            return
        if process.is_alive(supervisor):
            break
    said = last_line(attempt.supervisor_log) or "nothing"
    raise RunError(f"the supervisor of run {run.name} did not come up; it said: {said}", f"See {attempt.path}.")


def _taken_over(run: RunDir, attempt: AttemptDir, supervisor: Identity, seconds: float) -> bool:
    """Whether a supervisor has written its first status of the attempt. False when this one is gone and no other has
    the run, or when the time is over; one that lives gets SLOW_SECONDS more: the machine may have too much to do."""
    begin = time.monotonic()
    while True:
        lives = process.is_alive(supervisor)  # before the look: what it did until its end counts
        seen = view(run)
        if _waits(seen) or (seen.state != "queued" and (begun(attempt) or seen.over)):
            return True
        if not lives and not seen.alive:
            return False
        if time.monotonic() - begin > seconds + (SLOW_SECONDS if lives else 0.0):
            return False
        time.sleep(_POLL)


def _run_dirs(project: Path) -> list[RunDir]:
    """Newest first, by the time of creation."""
    found: list[tuple[float, str]] = []
    try:
        entries = list(os.scandir(project / RUNS))
    except OSError:
        return []
    for entry in entries:
        try:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                found.append((_birth(Path(entry.path)), entry.name))
        except OSError:
            continue
    return [RunDir(project / RUNS / name) for _, name in sorted(found, reverse=True)]


def _birth(path: Path) -> float:
    try:
        return (path / "spec.json").stat().st_mtime
    except OSError:
        return path.stat().st_mtime


def _view_or_problem(run: RunDir) -> RunView:
    try:
        return view(run)
    except Exception as error:  # a list must show the others whatever one folder holds
        problem = f"{run.path} cannot be read: {type(error).__name__}: {error}"
        status = Status(run.name, 0, "lost", 0, 0.0, 0.0, message=problem)
        return RunView(run, status, 0, False, False, 0.0, (problem,))
