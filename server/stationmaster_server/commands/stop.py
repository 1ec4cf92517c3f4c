"""`stationmaster stop RUN`: asks a run to save a checkpoint and end."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("stop", help="ask a run to save a checkpoint and end")
    parser.add_argument("run", metavar="RUN", help="the run's name")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--wait", action="store_true", help="stay until it has ended")


def run(arguments: argparse.Namespace) -> int:
    """0 when the request was written (or had been), 1 when the run is not going on; with `--wait` that of `watch`."""
    from .. import runs
    from ..roots import Roots
    from .watch import follow

    found = runs.find_run(Roots.of([arguments.project]).paths[0], arguments.run)
    answer, seen = runs.request_stop(found, by="person")
    if answer == "not_running":
        print(f"{seen.name} is not running: it is {seen.state}. Nothing was asked.")
        return 1
    print(
        f"{seen.name} was asked to stop before."
        if answer == "already_requested"
        else f"{seen.name} is asked to stop: it saves a checkpoint first."
    )
    return follow(seen) if arguments.wait else 0
