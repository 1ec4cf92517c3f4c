"""`stationmaster status RUN`: one look at a run."""

from __future__ import annotations

import argparse
import time


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("status", help="state, step, losses, alerts and checkpoint of a run")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's name (default: the newest)")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Prints what `poll_status` says without a cursor; exit code 0 in every state."""
    from stationmaster_trainer import codec

    from .. import progress, runs
    from ..answer import shown
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    seen = runs.view(runs.find_run(project, arguments.run))
    if arguments.json:
        print(codec.dumps(progress.facts(seen)))
    else:
        print(shown(progress.text(seen, now=time.time(), for_person=True)))
    return 0
