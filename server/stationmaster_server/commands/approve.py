"""`stationmaster approve`: a person says yes to the configuration that was last shown, in a terminal of their own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plan import Proposal

MAX_SHOWN = 40_000
"""Characters of a configuration that are printed."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("approve", help="approve the configuration that was last proposed")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument(
        "--yes", action="store_true", help="ask nobody; recorded as declared, which is not a person's yes"
    )


def run(arguments: argparse.Namespace) -> int:
    """Shows the proposal, asks, records the yes for its digest. Exit code 1 when the answer is no."""
    from .. import approval, plan, terminal
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    proposal = _shown(project)
    if arguments.yes and approval.person_required(project):
        raise approval.person_needed(project)
    if not arguments.yes and not terminal.confirmed(f"{approval.essentials(proposal)}\nIn {project}"):
        print("Not approved.")
        return 1
    _record(project, proposal.digest, plan.ASSISTANT if arguments.yes else plan.TERMINAL)
    kind = "Recorded as declared" if arguments.yes else "Approved"
    print(f"{kind}: {proposal.config.run_name}. start_run with this digest starts it.")
    return 0


def _shown(project: Path) -> Proposal:
    """The proposal that stands, printed. GateError while a gate before it is open."""
    from .. import checklist, plan
    from ..answer import clean

    with plan.locked(project):
        now = plan.load(project)
    if (refusal := checklist.open_gate(now)) is not None:
        raise refusal
    proposal = now.proposal
    assert proposal is not None  # open_gate has looked
    print(f"{clean(proposal.yaml, MAX_SHOWN)}\n{clean(proposal.summary)}\nDigest: {clean(proposal.digest)}")
    for finding in proposal.findings:
        print(f"{finding.severity}: {clean(finding.message)}")
    return proposal


def _record(project: Path, digest: str, by: str) -> None:
    from stationmaster_trainer.errors import GateError

    from .. import plan

    with plan.locked(project):
        now = plan.load(project)
        if now.proposal is None or now.stale or now.proposal.digest != digest:
            raise GateError("The configuration changed while it was being read.", "Run the command again.")
        plan.save(project, plan.with_approval(now, digest, by))
