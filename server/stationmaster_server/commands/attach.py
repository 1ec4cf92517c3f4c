"""`stationmaster attach PATH`: follow a training that something else started, by its log, until nobody writes it.

It only looks: no file is written, no process is touched, and Ctrl-C ends the looking alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..diagnose import Diagnosis
    from ..live import Live, Pulse
    from .watch import Screen

LOOK_SECONDS = 1.0
SHARE = 10
"""A look that took long is followed by a pause of so many times its length."""
PROCESSES_SECONDS = 5.0
"""Between two looks at the processes."""
QUIET_SECONDS = 120.0
"""After which a log without a process that has it open is taken to be over."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("attach", help="follow a training of another program by its log, read-only")
    parser.add_argument("path", metavar="PATH", help="log file, the folder of a run, or a folder of several")
    parser.add_argument("--run", metavar="NAME", help="which run of a folder of several (default: the newest)")
    parser.add_argument(
        "--map", action="append", default=[], metavar="ROLE=COLUMN", help="name a column, for example loss=train_ce"
    )
    parser.add_argument(
        "--quiet", type=float, default=QUIET_SECONDS, metavar="SECONDS", help="how long silence may last (default: 120)"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 once the log was read; 130 when the looking was ended by Ctrl-C."""
    from .. import live
    from .diagnose import mapping

    seen = live.Live(Path(arguments.path), mapping(arguments.map), arguments.run, _project(Path(arguments.path)))
    try:
        follow(seen, arguments.quiet)
    except KeyboardInterrupt:
        print("\nNo longer looking. The training was not touched.")
        return 130
    return 0


def _project(path: Path) -> Path | None:
    """The folder that the person is in, when the log lies below it: a process in there may be the writer."""
    here = Path.cwd()
    return here if path.resolve().is_relative_to(here) else None


def follow(seen: Live, quiet: float) -> None:
    """Draws the log until it is over, then says what it amounts to."""
    from .. import diagnosis, livewords
    from ..answer import shown
    from .watch import Screen

    screen, revision = Screen(), 0
    began = time.monotonic()
    found, pulse = seen.look(), seen.pulse()
    looked = time.monotonic()
    while not _over(pulse, quiet):
        revision += 1
        sure = pulse.writer if pulse.writer is not None and pulse.writer.sure else None
        _draw(screen, pulse, found, revision)
        time.sleep(max(LOOK_SECONDS, SHARE * (time.monotonic() - began)))
        began = time.monotonic()
        found = seen.look()
        if began - looked >= PROCESSES_SECONDS or seen.step != pulse.step:
            pulse, looked = seen.pulse(), began
            if sure is not None and (pulse.writer is None or pulse.writer.pid != sure.pid):
                found, pulse = seen.look(), seen.pulse()
                screen.clear()
                print(f"pid {sure.pid} no longer writes it.")
                break
    screen.clear()
    print(shown("\n".join([livewords.line(pulse, found, time.time()), *diagnosis.lines(found.answer())])), flush=True)


def _over(pulse: Pulse, quiet: float) -> bool:
    if pulse.writer is not None and pulse.writer.sure:
        return False
    return time.time() - pulse.changed > quiet


def _draw(screen: Screen, pulse: Pulse, found: Diagnosis, revision: int) -> None:
    from stationmaster_trainer.rundir import RunDir

    from .. import livewords
    from ..views import RunView

    status = livewords.status(pulse, found, time.time(), revision)
    name = RunDir(Path(status.run))
    view = RunView(name, status, 1, alive=True, worker_alive=True, created=pulse.began)
    screen.show(view, livewords.beside(pulse))
    sys.stdout.flush()
