"""Who may say yes to a start: the question to the person, what a yes is recorded as, and when a person's is needed."""

from __future__ import annotations

from pathlib import Path

from stationmaster_trainer.errors import GateError

from . import preflight_text, trust
from .answer import plain
from .plan import ASSISTANT, Approval, Plan, Proposal, approved

WAY_OUT = "A person can approve it in a terminal: stationmaster approve --project {project}"


def person_required(project: Path) -> bool:
    """Whether a policy file demands elicitation or `stationmaster approve`. ConfigError when one is unreadable."""
    return bool(trust.policy(project).person)


def question(plan: Plan) -> str:
    """What a person is asked before the start: the essentials of the proposal."""
    proposal = plan.proposal
    assert proposal is not None  # asked only for a proposal
    return f"{essentials(proposal)}\nThe configuration was shown by propose_config."


def essentials(proposal: Proposal) -> str:
    """Run, model and data, and the warnings, in a few lines; file and column names in it came from outside."""
    warnings = [f"- {plain(finding.message, 300)}" for finding in proposal.findings if finding.severity != "info"]
    lines = [f"Start training {plain(proposal.config.run_name, 100)}?", plain(proposal.summary, 600)]
    if proposal.smoke is not None:
        lines.append(preflight_text.smoke(proposal.smoke, proposal.config, proposal.facts.val_samples))
    lines += warnings[:5]
    return "\n".join([*lines, f"Digest {proposal.digest[:12]}."])


def existing(plan: Plan, digest: str, *, person: bool) -> Approval | None:
    """The yes that is already recorded for this digest; with `person`, only a person's own."""
    found = approved(plan, digest)
    return None if found is not None and person and found.by == ASSISTANT else found


def refused(project: Path) -> GateError:
    """The start was declined, or the client never showed the question: the two cannot be told apart."""
    return GateError("The start was declined or not shown: nothing was started.", WAY_OUT.format(project=project))


def person_needed(project: Path) -> GateError:
    """The policy demands a person's yes, and there is none for this digest."""
    name = trust.policy(project).person.removeprefix(f"{project}/")
    return GateError(
        f"{name} demands that a person approves, and this client cannot ask: nothing was started.",
        WAY_OUT.format(project=project),
    )
