"""`stationmaster approve`: a person says yes to the configuration that was last shown, in a terminal of their own."""

from __future__ import annotations

import argparse
import sys


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("approve", help="approve the configuration that was last proposed")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def run(arguments: argparse.Namespace) -> int:
    """Shows the proposal, asks, records the yes for its digest. Exit code 1 when the answer is no."""
    from stationmaster_trainer.errors import GateError

    from .. import checklist, plan
    from ..answer import clean
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    with plan.locked(project):
        now = plan.load(project)
    if (refusal := checklist.open_gate(now)) is not None:
        raise refusal
    proposal = now.proposal
    assert proposal is not None  # open_gate has looked
    print(f"{proposal.yaml}\n{proposal.summary}\nDigest: {proposal.digest}")
    for finding in proposal.findings:
        print(f"{finding.severity}: {clean(finding.message)}")
    if not _yes(arguments.yes):
        print("Not approved.")
        return 1
    with plan.locked(project):
        now = plan.load(project)
        if now.proposal is None or now.stale or now.proposal.digest != proposal.digest:
            raise GateError("The configuration changed while it was being read.", "Run the command again.")
        plan.save(project, plan.with_approval(now, proposal.digest, plan.TERMINAL))
    print(f"Approved: {proposal.config.run_name}. start_run with this digest starts it.")
    return 0


def _yes(given: bool) -> bool:
    """Whether a person said yes. GateError where nobody can be asked."""
    from stationmaster_trainer.errors import GateError

    if given:
        return True
    if not sys.stdin.isatty():
        raise GateError("there is no terminal to ask in.", "Run it in a terminal, or add --yes.")
    return input("Approve this configuration? [y/N] ").strip().lower() in ("y", "yes")
