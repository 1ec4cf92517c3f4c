"""Whether the files that a run was confirmed with are still what they were: model file with its imports, and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stationmaster_trainer.contract import Spec
from stationmaster_trainer.errors import RunError, StationmasterError
from stationmaster_trainer.rundir import RunDir

from . import decisions, digest


def require(project: Path, run: RunDir, spec: Spec, what: str) -> None:
    """RunError that names what changed since the run was confirmed: only the same files give the same run.

    `what`: what cannot be done then, as in `resumed`.
    """
    confirmed = parts(run)
    now: dict[str, str] = {}
    try:
        now["model file"] = digest.code_sha256(project, spec.config)
        if "data" in confirmed:
            now["data"] = digest.data_sha256(project, spec.config)
    except StationmasterError as error:
        raise RunError(f"run {run.name} cannot be {what}: {error.message}", "Put the file back as it was.") from None
    before = {"model file": spec.facts.entry_sha256, **{key: confirmed[key] for key in ("data",) if key in confirmed}}
    names = [f"the {key}" for key, value in now.items() if before.get(key) and before[key] != value]
    if names:
        raise RunError(
            f"run {run.name} cannot be {what}: {' and '.join(names)} changed since it was confirmed.",
            "Put it back as it was, or call propose_config and start a new run.",
        )


def parts(run: RunDir) -> dict[str, str]:
    """The parts of the confirmed digest, from the run's checklist; empty when that is damaged."""
    gate: dict[str, Any] = decisions.read(run.checklist, []).get("configuration", {})
    evidence = gate.get("evidence")
    found = evidence.get("parts") if isinstance(evidence, dict) else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
