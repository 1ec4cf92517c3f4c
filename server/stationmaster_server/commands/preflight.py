"""`stationmaster preflight`: tries the configuration last proposed before anything is started."""

from __future__ import annotations

import argparse
from dataclasses import replace

from stationmaster_trainer.facts import RateFacts


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("preflight", help="try the configuration last proposed: real steps, save and resume")
    parser.add_argument(
        "kind",
        nargs="?",
        default="smoke",
        choices=("smoke", "batch_size", "learning_rate"),
        help="twenty real steps (default), the largest batch that fits, or three learning rates",
    )
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="what was found as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Waits for the answer, however long it takes, and prints it. Exit code 1 when a finding refuses the start."""
    from stationmaster_trainer import codec

    from .. import plan, preflight, preflight_text, proposal_text
    from ..propose import propose
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    with plan.locked(project):
        now, shown = propose(project, plan.load(project), {})
        now = plan.save(project, now)
    found = preflight.ask(project, now, arguments.kind, float("inf"))
    if isinstance(found, plan.Smoke):
        with plan.locked(project):
            now, shown = propose(project, replace(plan.load(project), smoke=found), {})
            now = plan.save(project, now)
    if arguments.json:
        print(codec.dumps(found.facts if isinstance(found, plan.Smoke) else found))
    elif isinstance(found, plan.Smoke):
        digest = now.proposal.digest if now.proposal else ""
        print("\n".join([*proposal_text.tried(shown), f"Digest: {digest}"]))
    elif isinstance(found, RateFacts):
        print(preflight_text.rates(found, shown.config))
    else:
        print(preflight_text.batch(found, shown.config))
    return int(isinstance(found, plan.Smoke) and any(one.severity == "error" for one in found.facts.findings))
