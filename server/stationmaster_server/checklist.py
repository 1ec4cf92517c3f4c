"""The gates of the checklist as a pure state machine: logging → validation → configuration → approval → start.

Its sentences are the checklist's own, word for word. Nothing here reads a file or asks anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.errors import GateError

from .plan import Plan, approved

LOGGING_SENTENCE = "I need logging configured before training. Which backend would you like to use?"
LOGGING_CHOICES = """- File-based (CSV/JSON) - zero dependencies
- TensorBoard - local visualization
- Weights & Biases - cloud tracking"""
VALIDATION_WARNING = """No validation dataset specified. \
Training without validation makes it impossible to detect overfitting. Options:
1. Provide validation dataset path
2. Auto-split training data (80/20)
3. Proceed without validation (not recommended)"""
QUESTION = "Does this configuration look correct? Any changes?"
GATES = ("logging", "validation", "configuration", "approval")
"""In the order in which they are passed; the start follows."""


@dataclass(frozen=True)
class Gate:
    """One gate as it stands; written into the run's `checklist.json`."""

    gate: str
    state: str
    """`open`, `passed`, or `stale` (decided, but something it rests on was decided anew)."""
    words: str = ""
    """The decision in one line."""
    by: str = ""
    """`assistant`, `person (elicitation)`, `person (terminal)`."""
    time: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)


def gates(plan: Plan) -> tuple[Gate, ...]:
    """Every gate in order."""
    return (_logging(plan), _validation(plan), _configuration(plan), _approval(plan))


def overview(plan: Plan) -> dict[str, Any]:
    """The plan for structured content: its id, and each gate's state."""
    return {"id": plan.id, **{gate.gate: gate.state for gate in gates(plan)}}


def line(plan: Plan) -> str:
    """The gates in one line, and the notice when there is one."""
    parts = [f"{gate.gate} {gate.state}" for gate in gates(plan)]
    return f"Gates: {', '.join(parts)}." + (f"\n{plan.notice}" if plan.notice else "")


def open_gate(plan: Plan) -> GateError | None:
    """The refusal of the first gate before the approval that is not passed; None when a digest may be approved."""
    notice = f"\n{plan.notice}" if plan.notice else ""
    if plan.logging is None:
        return GateError(f"{LOGGING_SENTENCE}\n{LOGGING_CHOICES}{notice}")
    if plan.validation is None:
        return GateError(f"{VALIDATION_WARNING}{notice}")
    if plan.proposal is None:
        return GateError(
            f"No configuration has been shown yet.{notice}", "Call propose_config and show it to the person."
        )
    if plan.stale:
        return GateError(
            f"{_capital(plan.stale)} since the configuration was shown.",
            "Call propose_config and show it to the person again.",
        )
    if errors := [finding.message for finding in plan.proposal.findings if finding.severity == "error"]:
        return GateError(f"The configuration cannot start: {' '.join(errors)}", "Correct it, then call propose_config.")
    return None


def require_startable(plan: Plan, digest: str, now: Mapping[str, str]) -> None:
    """Raises GateError unless every gate before the approval is passed and `digest` is that of what was last shown.

    `now`: the parts of the digest as they are at this moment. The refusal names what changed since it was shown.
    """
    if (refusal := open_gate(plan)) is not None:
        raise refusal
    proposal = plan.proposal
    assert proposal is not None  # open_gate has looked
    again = "Call propose_config, show it to the person again, and start the new digest."
    if digest != proposal.digest:
        before = plan.shown.get(digest)
        if before is None:
            raise GateError(
                f"The digest {digest[:80]!r} is not that of the configuration last shown.",
                "Take the digest from propose_config; it is never made up.",
            )
        raise GateError(
            f"That digest is outdated: {changed(before, proposal.parts)} changed since it was shown.", again
        )
    if dict(now) != proposal.parts:
        raise GateError(f"{_capital(changed(proposal.parts, now))} changed since the configuration was shown.", again)


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Names of the parts that differ: `the model file and the data`."""
    names = [f"the {name}" for name in now if before.get(name) != now[name]]
    return " and ".join(names) or "nothing that is named"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _logging(plan: Plan) -> Gate:
    if plan.logging is None:
        return Gate("logging", "open")
    backends = plan.logging.backends
    return Gate(
        "logging", "passed", ", ".join(backends), plan.logging.by, plan.logging.time, {"backends": list(backends)}
    )


def _validation(plan: Plan) -> Gate:
    found = plan.validation
    if found is None:
        return Gate("validation", "open")
    facts = found.facts
    evidence: dict[str, Any] = {
        "val_data": found.val_data,
        "method": facts.method,
        "train_samples": facts.train_samples,
        "val_samples": facts.val_samples,
        "about": facts.about,
        "dropped": facts.dropped,
        "train_counts": facts.train_counts,
        "val_counts": facts.val_counts,
        "overlap": facts.overlap,
        "findings": [finding.message for finding in facts.findings],
    }
    if found.waive_reason:
        evidence["waive_reason"] = found.waive_reason
    return Gate("validation", "passed", facts.method, found.by, found.time, evidence)


def _configuration(plan: Plan) -> Gate:
    proposal = plan.proposal
    if proposal is None:
        return Gate("configuration", "open")
    evidence: dict[str, Any] = {"digest": proposal.digest, "parts": proposal.parts, "changes": plan.changes}
    if proposal.smoke is not None:
        evidence["smoke_test"] = codec.to_plain(proposal.smoke)
    state = "stale" if plan.stale else "passed"
    return Gate("configuration", state, proposal.summary, proposal.by, proposal.time, evidence)


def _approval(plan: Plan) -> Gate:
    found = approved(plan, plan.proposal.digest) if plan.proposal and not plan.stale else None
    if found is None:
        return Gate("approval", "open")
    words = "declared by the assistant" if found.by == "assistant" else f"given by a {found.by}"
    return Gate("approval", "passed", words, found.by, found.time, {"digest": found.digest})
