"""`stationmaster diagnose PATH`: what a finished training log says, of this program or of another one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import ConfigError

SHOWN = 12
"""Ignored columns that are named."""


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
    from ..diagnose import diagnose

    found = diagnose(Path(arguments.path), _mapping(arguments.map), arguments.run)
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    return 0


def _mapping(pairs: list[str]) -> dict[str, str] | None:
    mapping: dict[str, str] = {}
    for pair in pairs:
        role, sign, column = pair.partition("=")
        if not sign or not role or not column:
            raise ConfigError(f"--map {pair!r} is no mapping.", "Write ROLE=COLUMN, for example loss=train_ce.")
        mapping[role] = column
    return mapping or None


def _columns(found: dict[str, Any]) -> list[str]:
    """Which column was taken for what, and what was left."""
    from ..answer import clean

    taken = [f"{role.replace('_', ' ')} from {clean(column, 80)!r}" for role, column in found["columns"].items()]
    lines = [f"Read: {', '.join(taken)}; {found['rows']:,} rows"] if taken else []
    if found["ignored"]:
        lines.append("Ignored: " + clean(", ".join(found["ignored"][:SHOWN]), 400))
        lines[-1] += f" and {len(found['ignored']) - SHOWN} more" if len(found["ignored"]) > SHOWN else ""
    return lines


def _lines(found: dict[str, Any]) -> list[str]:
    from ..answer import clean
    from ..words import number, short

    lines = [clean(str(found["source"])), *_columns(found), f"Verdict: {found['verdict'].replace('_', ' ')}"]
    lines += [f"  {clean(one)}" for one in found["evidence"]]
    lines.append(f"Recommendation: {found['recommendation']}")
    lines += [f"  {json.dumps(change['values'])}: {clean(change['reason'])}" for change in found["changes"]]
    best = found["best"]
    if best["step"] is not None:
        lines.append(f"Best {best['metric']}: {number(float(best['value']), 4)} at step {best['step']:,}")
    lines.append(f"Alerts: {len(found['alerts']) or 'none'}")
    for alert in found["alerts"]:
        span = f"{alert['first_step']:,}" + (
            f"–{alert['last_step']:,}" if alert["last_step"] != alert["first_step"] else ""
        )
        lines.append(f"  {alert['severity']} {alert['rule']}, step {span}: {short(clean(alert['message']), 200)}")
    lines += [f"Not checked: {one['rule']}, because {clean(one['why'])}" for one in found["not_checked"]]
    if found["skipped"]:
        lines.append(f"{found['skipped']:,} of {found['rows'] + found['skipped']:,} rows could not be read.")
    lines += [clean(str(note)) for note in found["notes"]]
    return lines
