"""Continues a run that ended before its time: same configuration and digest, a new attempt from a verified checkpoint.

A run continues only on the same model file and the same data: else it would not be the run that was confirmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer import actions, codec, manifest
from stationmaster_trainer.contract import Action, Launch, Spec
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.manifest import Newest
from stationmaster_trainer.rundir import RunDir

from . import newlimits, place, runs, seal, trust, unchanged
from .digest import SCRIPT
from .interpreter import find_python
from .plan import locked
from .start import WAIT_SECONDS
from .views import RunView, read_spec


@dataclass(frozen=True)
class Resumed:
    """What a resume came to."""

    view: RunView
    step: int | None
    """Step continued from; 0 when no checkpoint was usable; None when nothing was started, because the run goes on."""
    checkpoint: str
    """The verified checkpoint, relative to the project; empty at step 0."""
    rejected: tuple[str, ...]
    """Newer checkpoints that could not be used, each with the reason."""


def question(project: Path, name: str | None, changes: Mapping[str, Any] | None, *, can_ask: bool) -> str | None:
    """What a person must be asked before this resume; None when nothing that was confirmed is changed."""
    run = runs.find_run(project, name)
    given = newlimits.checked(changes)
    return newlimits.question(project, run, read_spec(run), given, can_ask=can_ask) if given else None


def resume(project: Path, name: str | None, changes: Mapping[str, Any] | None = None) -> Resumed:
    """Starts a new attempt from the newest verified checkpoint, or from step 0 when there is none.

    Raises RunError for a run that has succeeded or was never started, for a copy of one, and when model file or data
    changed since.
    """
    with locked(project):
        run = runs.find_run(project, name)
        seen = runs.view(run)
        if not seen.over:
            broken_off = seen.state == "queued" and not seen.alive and seen.attempt > 1  # an order that nobody took
            if seen.state == "queued" and not seen.alive and not broken_off:
                raise RunError(f"run {run.name} was created and never started.", "Call start_run with its digest.")
            if not broken_off:
                return Resumed(seen, None, "", ())
        if seen.state == "succeeded":
            raise RunError(
                f"run {run.name} has succeeded: there is nothing left to resume.",
                "For more training, call propose_config with more epochs; it starts as a new run.",
            )
        spec = read_spec(run)
        place.require(run, spec, "resumed")
        if spec.config.framework == SCRIPT and manifest.newest_verified(Path(spec.checkpoint_dir)).path is None:
            raise RunError(
                f"run {run.name} cannot be resumed: a script that ran as it is has no checkpoint of stationmaster.",
                "Start it anew with propose_config; if it can continue by itself, name its option in script_args. "
                "With stationmaster.watch(...) in the script, later runs can be resumed.",
            )
        given = newlimits.checked(changes)
        newlimits.require(run, spec, seen, given)
        seal.require_sealed(run)
        unchanged.require(project, run, spec, "resumed")
        trust.require_remote_code(project, spec.config.model_path, spec.config.extra)
        back = _rollback(run, spec)
        newest = manifest.newest_verified(Path(spec.checkpoint_dir))
        rejected = _foreign(newest, spec)
        path = newest.path if not rejected else None
        runs.start_attempt(
            run, _python(project, run), resume_from=str(path) if path else None, resume_step=newest.step if path else 0,
            changes=given, again=True, rollbacks=(*actions.rollbacks(run), back) if back else None,
        )  # fmt: skip
    found = runs.wait(run, WAIT_SECONDS) or runs.view(run)
    named = tuple(f"{item.path.name}: {item.reason}" for item in newest.rejected) + rejected
    relative = path.relative_to(project).as_posix() if path and path.is_relative_to(project) else str(path or "")
    return Resumed(found, newest.step if path else 0, relative, named)


def _rollback(run: RunDir, spec: Spec) -> Action | None:
    """A rollback that was decided and not carried out, because the supervisor was gone: now it is.

    Checkpoints behind its own are deleted then, so that its own is the newest one.
    """
    attempts = run.attempts()
    try:
        return actions.carry_out(spec, attempts[-1]) if attempts else None
    except (OSError, FormatError):
        return None


def _foreign(newest: Newest, spec: Spec) -> tuple[str, ...]:
    """A checkpoint in this run's folder that another configuration wrote cannot be continued from."""
    found = newest.manifest
    if found is None or not found.digest or found.digest == spec.digest:
        return ()
    return (f"{newest.path.name if newest.path else ''}: written by another configuration ({found.digest[:12]})",)


def _python(project: Path, run: RunDir) -> str:
    """The Python that was confirmed, so that nothing changes; else the newest attempt's, else the project's own."""
    if python := unchanged.parts(run).get("python"):
        return python
    attempts = run.attempts()
    try:
        if attempts:
            return codec.loads(Launch, attempts[-1].launch.read_bytes(), "launch.json").argv[0]
    except (OSError, FormatError, IndexError, json.JSONDecodeError):
        pass
    return find_python(project).path
