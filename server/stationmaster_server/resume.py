"""Continues a run that ended before its time: same configuration and digest, a new attempt from a verified checkpoint.

A run continues only on the same model file and the same data: else it would not be the run that was confirmed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, manifest
from stationmaster_trainer.contract import Launch, Spec
from stationmaster_trainer.errors import FormatError, RunError, StationmasterError
from stationmaster_trainer.manifest import Newest
from stationmaster_trainer.rundir import RunDir

from . import decisions, digest, runs
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


def resume(project: Path, name: str | None) -> Resumed:
    """Starts a new attempt from the newest verified checkpoint, or from step 0 when there is none.

    Raises RunError for a run that has succeeded or was never started, and when model file or data changed since.
    """
    with locked(project):
        run = runs.find_run(project, name)
        seen = runs.view(run)
        if not seen.over:
            if seen.state == "queued" and not seen.alive:
                raise RunError(f"run {run.name} was created and never started.", "Call start_run with its digest.")
            return Resumed(seen, None, "", ())
        if seen.state == "succeeded":
            raise RunError(
                f"run {run.name} has succeeded: there is nothing left to resume.",
                "For more training, call propose_config with more epochs; it starts as a new run.",
            )
        spec = read_spec(run)
        _require_unchanged(project, run, spec)
        newest = manifest.newest_verified(Path(spec.checkpoint_dir))
        rejected = _foreign(newest, spec)
        path = newest.path if not rejected else None
        runs.start_attempt(
            run, _python(project, run), resume_from=str(path) if path else None, resume_step=newest.step if path else 0,
            again=True,
        )  # fmt: skip
    found = runs.wait(run, WAIT_SECONDS) or runs.view(run)
    named = tuple(f"{item.path.name}: {item.reason}" for item in newest.rejected) + rejected
    relative = path.relative_to(project).as_posix() if path and path.is_relative_to(project) else str(path or "")
    return Resumed(found, newest.step if path else 0, relative, named)


def _foreign(newest: Newest, spec: Spec) -> tuple[str, ...]:
    """A checkpoint in this run's folder that another configuration wrote cannot be continued from."""
    found = newest.manifest
    if found is None or not found.digest or found.digest == spec.digest:
        return ()
    return (f"{newest.path.name if newest.path else ''}: written by another configuration ({found.digest[:12]})",)


def _require_unchanged(project: Path, run: RunDir, spec: Spec) -> None:
    """RunError that names what changed since the run was confirmed: only the same files give the same run."""
    confirmed = _parts(run)
    now: dict[str, str] = {}
    try:
        now["model file"] = digest.model_sha256(project, spec.config.framework, spec.config.model_path)
        if "data" in confirmed:
            now["data"] = digest.data_sha256(project, spec.config)
    except StationmasterError as error:
        raise RunError(f"run {run.name} cannot be resumed: {error.message}", "Put the file back as it was.") from None
    before = {"model file": spec.facts.entry_sha256, **{key: confirmed[key] for key in ("data",) if key in confirmed}}
    names = [f"the {key}" for key, value in now.items() if before.get(key) and before[key] != value]
    if names:
        raise RunError(
            f"run {run.name} cannot be resumed: {' and '.join(names)} changed since it was confirmed.",
            "Put it back as it was, or call propose_config and start a new run.",
        )


def _parts(run: RunDir) -> dict[str, str]:
    """The parts of the confirmed digest, from the run's checklist; empty when that is damaged."""
    gate: dict[str, Any] = decisions.read(run.checklist, []).get("configuration", {})
    evidence = gate.get("evidence")
    parts = evidence.get("parts") if isinstance(evidence, dict) else None
    return {str(key): str(value) for key, value in parts.items()} if isinstance(parts, dict) else {}


def _python(project: Path, run: RunDir) -> str:
    """The Python of the newest attempt, so that nothing changes; the project's own when that order is damaged."""
    attempts = run.attempts()
    try:
        if attempts:
            return codec.loads(Launch, attempts[-1].launch.read_bytes(), "launch.json").argv[0]
    except (OSError, FormatError, IndexError, json.JSONDecodeError):
        pass
    return find_python(project).path
