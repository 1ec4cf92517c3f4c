"""Kills worker, supervisor, server and all three at random instants, hundreds of times, and counts what must be zero.

    python benchmarks/soak.py [--kills 300] [--minutes 40] [--frameworks pytorch,transformers,flax] [--seed N]
                              [--lanes 2] [--account FILE] [--write docs/reliability.md]

`--frameworks stand-in` trains a linear model without any framework in place of them, which costs a tenth.

Each framework has projects with a tiny model that draws from every random generator. Its first run is left alone. All
others are started and resumed by a real server over stdio, and killed (SIGKILL) at a random instant: one third
uniformly within the start or resume, two thirds uniformly over the training; the target is one of four at random. A
reader loop looks at every file meanwhile. Every run goes to its end and is compared with the first one: steps,
validations, rows, weights.
`--account` keeps every kill and finding in a file: a soak that was ended, or whose time was over, goes on where it was.
One that is complete is not done again while the code is the same; for another code a new account is begun.
Exit code 1 unless every count is zero. With `--write` the tests that cause the faults F1–F23 are run too, and the
document is made of both. Not covered: power loss (tests/faults has it), GPUs.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

from soaking import book
from soaking.account import Account, Session
from soaking.lane import Lane, guarded
from soaking.projects import SCENARIOS

SHARES = {"pytorch": 0.5, "transformers": 0.25, "flax": 0.25, "stand-in": 1.0}
"""Of the kills: a start of PyTorch costs half of one of the others."""
FRAMEWORKS = "pytorch,transformers,flax"


def main() -> int:
    """Runs the soak; 0 when every count is zero and the kills were done."""
    arguments = _arguments()
    faulthandler.register(signal.SIGUSR1)
    frameworks = [name for name in arguments.frameworks.split(",") if name]
    account = _account(arguments, frameworks)
    if not account.complete:
        _soak(arguments, frameworks, account)
    lines = account.lines()
    print("\n".join(lines))
    for what, evidence in account.faults:
        print(f"{what}: {evidence}")
    sound = not any(account.zeros.values())
    if not account.complete:
        print(f"only {len(account.kills)} of {arguments.kills} kills were done in {arguments.minutes:g} minutes")
    if arguments.write:
        from soaking import document

        with tempfile.TemporaryDirectory() as folder:
            kept = Path(arguments.account or f"{folder}/soak").with_suffix(".tests.jsonl")
            sound &= document.write(Path(arguments.write), lines, kept)
    return 0 if sound and account.complete else 1


def _account(arguments: argparse.Namespace, frameworks: list[str]) -> Account:
    """What was counted before, when there is such a file and it is not about another code, complete."""
    wanted = _wanted(arguments.kills, frameworks)
    kept = book.Book(Path(arguments.account) if arguments.account else None)
    account = Account(wanted, kept)
    if account.complete and any(session.source != book.source() for session in account.sessions):
        kept.set_aside()
        return Account(wanted, kept)
    return account


def _soak(arguments: argparse.Namespace, frameworks: list[str], account: Account) -> None:
    """One session; the folder of its projects is left when something was found."""
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="stationmaster-soak-"))
    machine = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )
    account.begin(Session(book.source(), book.commit(), str(date.today()), arguments.seed, arguments.lanes, machine))
    found, deadline = len(account.faults), begun + 60.0 * arguments.minutes
    waiting = [(name, number) for number in range(arguments.lanes) for name in frameworks]
    lanes = [Lane(name, folder / f"{name}-{number}", account, arguments.seed, deadline) for name, number in waiting]
    _go(lanes, account, arguments.lanes, deadline)
    if len(account.faults) == found:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what was left: {folder}")


def _go(lanes: list[Lane], account: Account, at_once: int, deadline: float) -> None:
    """Lets so many lanes work at once, in order; those that find nothing left to do are not started."""
    waiting = list(lanes)
    working: list[threading.Thread] = []
    while waiting or working:
        working = [thread for thread in working if thread.is_alive()]
        while waiting and len(working) < at_once:
            lane = waiting.pop(0)
            if account.left(lane.framework) > 0 and time.monotonic() < deadline:
                working.append(guarded(lane, account))
        time.sleep(0.2)


def _wanted(kills: int, frameworks: list[str]) -> dict[str, int]:
    """Kills of each framework, by its share; together at least `kills`."""
    whole = sum(SHARES[name] for name in frameworks)
    return {name: -int(-kills * SHARES[name] // whole) for name in frameworks}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="kills in all")
    parser.add_argument("--minutes", type=float, default=40.0, help="after these no further kill is made")
    parser.add_argument("--frameworks", default=FRAMEWORKS, help="separated by commas")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="of the instants and targets")
    parser.add_argument("--lanes", type=int, default=2, help="projects that work at the same time")
    parser.add_argument("--account", default="", help="file outside of the repository that keeps the counts")
    parser.add_argument("--write", default="", help="document to write, with the outcome of the fault tests")
    found = parser.parse_args()
    if unknown := set(found.frameworks.split(",")) - set(SCENARIOS):
        parser.error(f"unknown framework {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
