"""The start gate: one yes, one digest, one run; the same digest again is the same run, whoever asks and how often.

Everything is decided under the project's lock, over all servers. A run that was created and never started (its server
died in between) is started by the next call with its digest.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, orders
from stationmaster_trainer.contract import FORMAT, Spec
from stationmaster_trainer.errors import FormatError, GateError
from stationmaster_trainer.rundir import RUNS, RunDir

from . import approval, checklist, decisions, digest, leases, preflight, runs, seal, trust, unchanged, views
from .interpreter import find_python
from .plan import ASSISTANT, ELICITED, Plan, load, locked, save, with_approval
from .roots import inside
from .runs import RunView

MAX_SPEC = 4 << 20
"""Bytes of the largest spec that is read."""
WAIT_SECONDS = 10.0
"""How long a start waits for the first step, or for a failure of import, data or model."""


@dataclass(frozen=True)
class Started:
    """What a start came to."""

    run: RunDir
    view: RunView
    plan: Plan
    new: bool
    """False when this digest had been started before."""
    by: str
    """Who approved."""
    beside: str = ""
    """Which run uses the device already, when both share it."""


def question(project: Path, wanted: str, *, can_ask: bool) -> str | None:
    """What a person must be asked before this digest starts; None when there is nothing to ask.

    Raises what `start` would raise, so that nobody is asked about what cannot start.
    """
    with locked(project):
        if find_by_digest(project, wanted) is not None:
            return None
        now = load(project)
        _require(project, now, wanted)
        if approval.existing(now, wanted, person=True) is not None:
            return None
        if can_ask:
            return "\n".join([approval.question(now), *_beside(now)])
        if approval.person_required(project):
            raise approval.person_needed(project)
        return None


def start(project: Path, wanted: str, *, elicited: bool) -> Started:
    """Starts the run of a digest, or returns the one that it has already started.

    Raises GateError for a gate that is not passed and for a digest that is not that of what was last shown.
    """
    with locked(project):
        now = load(project)
        run = find_by_digest(project, wanted)
        new = run is None or not _begun(run)
        if run is None:
            _require(project, now, wanted)
            now = _approve(project, now, wanted, elicited)
            run = _create(project, now)
        else:
            _require_same(project, run)
        beside = leases.busy(leases.device(views.read_spec(run))) if new else ""
        if new:
            runs.start_attempt(run, find_python(project).path)
    by = who(run)
    return Started(run, runs.wait(run, WAIT_SECONDS) or runs.view(run), now, new, by, beside)


def _beside(now: Plan) -> list[str]:
    """Who uses the device at the moment of the question."""
    proposal = now.proposal
    assert proposal is not None  # the gates have looked
    holder = leases.busy(leases.named(proposal.config.device, proposal.facts.device))
    what = {"queue": "this run waits for it"}.get(proposal.config.when_busy, "both are slower together")
    return [f"Now {holder}: {what}."] if holder else []


def _require_same(project: Path, run: RunDir) -> None:
    """A run that was created and never started: made here, and confirmed with the files as they are now."""
    if not _begun(run):
        seal.require_sealed(run)
        unchanged.require(project, run, views.read_spec(run), "started")


def _begun(run: RunDir) -> bool:
    """Whether a supervisor ever took this run over; one that was only created is started by the next call."""
    seen = runs.view(run)
    return seen.alive or any(orders.taken(attempt) for attempt in run.attempts())


def _require(project: Path, now: Plan, wanted: str) -> None:
    if (refusal := checklist.open_gate(now)) is not None:
        raise refusal
    proposal = now.proposal
    assert proposal is not None  # open_gate has looked
    trust.require_remote_code(project, proposal.config.model_path, proposal.config.extra)
    parts = dict(proposal.parts)
    if wanted == proposal.digest:
        parts = digest.parts(project, proposal.config, find_python(project).path, proposal)
    checklist.require_startable(now, wanted, parts)
    preflight.require(project, proposal.smoke is not None)
    if holder := leases.refusal(proposal.config, proposal.facts.device):
        raise GateError(
            f"{holder}: nothing was started.", "Wait for it, or propose_config with when_busy queue or share."
        )


def _approve(project: Path, now: Plan, wanted: str, elicited: bool) -> Plan:
    """The plan with the yes recorded as what it was. GateError when the policy wants a person's own."""
    if elicited:
        return save(project, with_approval(now, wanted, ELICITED))
    if approval.existing(now, wanted, person=approval.person_required(project)) is None:
        if approval.person_required(project):
            raise approval.person_needed(project)
        return save(project, with_approval(now, wanted, ASSISTANT))
    return now


def who(run: RunDir) -> str:
    """Who approved this run, as its own checklist says."""
    gate = decisions.read(run.checklist, []).get("approval", {})
    return str(gate.get("by") or "unknown")


def _create(project: Path, now: Plan) -> RunDir:
    proposal = now.proposal
    assert proposal is not None  # the gates have looked
    config = proposal.config
    spec = Spec(
        config=config,
        facts=proposal.facts,
        project_dir=str(project),
        run_dir=str(project / RUNS / config.run_name),
        checkpoint_dir=str(inside(project, config.checkpoint_dir, "checkpoint_dir")),
        digest=proposal.digest,
    )
    return runs.create_run(spec, proposal.yaml, record(now), seal.seal_run)


def record(now: Plan) -> dict[str, Any]:
    """The run's `checklist.json`: every gate with its state, evidence, who decided and when."""
    shown = now.proposal
    return {
        "format": FORMAT,
        "plan": now.id,
        "digest": shown.digest if shown else "",
        "gates": [asdict(gate) for gate in checklist.gates(now)],
        "findings": [asdict(finding) for finding in shown.findings] if shown else [],
    }


def find_by_digest(project: Path, wanted: str) -> RunDir | None:
    """The run that was confirmed with this digest; None when there is none. A damaged spec is nobody's."""
    try:
        names = sorted(entry.name for entry in os.scandir(project / RUNS) if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in names:
        run = RunDir(project / RUNS / name)
        if len(wanted) >= 16 and _digest_of(run) == wanted:
            return run
    return None


def _digest_of(run: RunDir) -> str:
    try:
        descriptor = os.open(run.spec, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return codec.loads(Spec, file.read(MAX_SPEC), run.spec.name).digest
    except (OSError, FormatError):
        return ""
