"""`stationmaster export RUN --to wandb`: sends a finished run to a logger that it was not recorded to."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    from ..export import TARGETS

    parser = subparsers.add_parser("export", help="send a finished run to W&B, TensorBoard or trackio")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's name (default: the newest)")
    parser.add_argument("--to", required=True, choices=TARGETS, help="where it goes")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")
    parser.add_argument("--again", action="store_true", help="although it is there already; to W&B as a new W&B run")


def run(arguments: argparse.Namespace) -> int:
    """Sends it and says where it is."""
    from ..export import export
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    print(export(project, arguments.run, arguments.to, again=arguments.again))
    return 0
