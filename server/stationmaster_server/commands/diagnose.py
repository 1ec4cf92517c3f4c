"""`stationmaster diagnose PATH`: what a finished training log says, of this program or of another one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stationmaster_trainer.errors import ConfigError


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("diagnose", help="what a finished training log says, of any tool")
    parser.add_argument("path", help="log file, the folder of a run, or a folder of several")
    parser.add_argument("--run", metavar="NAME", help="which run of a folder of several (default: the newest)")
    parser.add_argument("--json", action="store_true", help="the whole diagnosis as one JSON object")
    parser.add_argument(
        "--map", action="append", default=[], metavar="ROLE=COLUMN", help="name a column, for example loss=train_ce"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the diagnosis; exit code 0 when the log was read, whatever it says."""
    from ..answer import shown
    from ..diagnose import diagnose
    from ..diagnosis import lines

    found = diagnose(Path(arguments.path), mapping(arguments.map), arguments.run)
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(shown("\n".join(lines(found))))
    return 0


def mapping(pairs: list[str]) -> dict[str, str] | None:
    """The pairs `ROLE=COLUMN` as a mapping; None for none. ConfigError for one without a role."""
    found: dict[str, str] = {}
    for pair in pairs:
        role, sign, column = pair.partition("=")
        if not sign or not role:
            raise ConfigError(f"--map {pair!r} is no mapping.", "Write ROLE=COLUMN, for example loss=train_ce.")
        found[role] = column
    return found or None
