"""`stationmaster runs`: every run of a project, newest first."""

from __future__ import annotations

import argparse
import json
import time


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("runs", help="every run of a project, newest first")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="one JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per run; a damaged run is told with its problem and hides no other."""
    from .. import overview, runs
    from ..answer import shown
    from ..roots import Roots

    views = runs.list_runs(Roots.of([arguments.project]).paths[0])
    if arguments.json:
        print(json.dumps([overview.row(view) for view in views], ensure_ascii=False))
    else:
        print(shown("\n".join(overview.lines(views, time.time(), most=1000))))
    return 0
