"""`stationmaster docs`: writes the generated tables of the documents anew, or says with `--check` that one is stale."""

from __future__ import annotations

import argparse
from pathlib import Path

from stationmaster_trainer.errors import RunError

from .. import documents

CHECKOUT = Path(documents.__file__).resolve().parents[2]
"""Folder of the checkout; an installed package has no documents there."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("docs", help="write the generated tables of the documents (in a checkout)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a table is stale")
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="folder of the checkout")


def run(arguments: argparse.Namespace) -> int:
    """0 when every table is fresh (now), 1 when `--check` found a stale one."""
    found = documents.documents(arguments.root)
    if not found:
        raise RunError(f"{arguments.root} holds no document with generated tables.", "Name a checkout with --root.")
    stale = 0
    for path in found:
        now = path.read_text("utf-8")
        fresh = documents.refresh(now, str(path))
        if fresh == now:
            continue
        stale += 1
        if not arguments.check:
            path.write_text(fresh, "utf-8")
        print(f"{'stale' if arguments.check else 'written'}: {path.relative_to(arguments.root)}")
    return 1 if stale and arguments.check else 0
