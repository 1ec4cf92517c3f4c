"""`stationmaster evaluate RUN --data PATH`: the run's best model on a held-out test set."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("evaluate", help="a run's best model on a held-out test set")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's name (default: the newest)")
    parser.add_argument("--data", required=True, metavar="PATH", help="the test set, or build_data")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Waits for the figures, however long it takes, and prints them."""
    from stationmaster_trainer import codec

    from .. import testreport
    from ..answer import shown
    from ..evaluate import evaluate
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    scored = evaluate(project, arguments.run, arguments.data, float("inf"))
    assert scored.facts is not None  # there was time enough
    if arguments.json:
        print(codec.dumps({"run": scored.run.name, **testreport.as_facts(scored.facts)}))
    else:
        print(shown(testreport.text(scored.run.name, scored.facts, scored.new)))
    return 0
