"""`stationmaster reproduce RUN`: the same training as a new run, or what changed since."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("reproduce", help="start the same training again, or say what changed since")
    parser.add_argument("run", metavar="RUN", help="the run's name")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--check", action="store_true", help="only compare, start nothing")
    parser.add_argument(
        "--yes", action="store_true", help="ask nobody; recorded as declared, which is not a person's yes"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when it was started (with `--check`: when nothing differs), 1 when the answer is no or something differs."""
    from .. import plan, reproduce, terminal
    from ..answer import shown
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    again = reproduce.prepare(project, arguments.run)
    print(shown(again.words))
    if arguments.check:
        return 1 if again.differences else 0
    if not arguments.yes and not terminal.confirmed(f"{again.words}\nIn {project}"):
        print("Not approved.")
        return 1
    seen = reproduce.start(project, again, plan.ASSISTANT if arguments.yes else plan.TERMINAL)
    print(f"Started {seen.name}: {seen.state}.")
    return 0
