"""`stationmaster summarize RUN`: the report of a run, written beside it."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("summarize", help="the report of a run, in any state")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's name (default: the newest)")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Prints the summary and writes `report.md` and `report.svg`; where it cannot, the text says so."""
    from stationmaster_trainer import codec

    from .. import page
    from ..answer import shown
    from ..roots import Roots

    text, facts = page.summarize(Roots.of([arguments.project]).paths[0], arguments.run)
    print(codec.dumps(facts) if arguments.json else shown(text))
    return 0
