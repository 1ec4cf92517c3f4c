"""`stationmaster watch RUN`: the run live, a bar on a terminal and plain lines elsewhere, until it ends.

It only looks: Ctrl-C ends the watching and leaves the run alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cursor import Cursor
    from ..views import RunView

LOOK_SECONDS = 0.25
PLAIN_SECONDS = 5.0
"""Between two lines where there is no terminal, unless something happens."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("watch", help="follow a run until it ends; Ctrl-C leaves it alone")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's name (default: the newest)")
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's folder (default: this one)")


def run(arguments: argparse.Namespace) -> int:
    """0 when the run succeeded or was stopped on request, 1 when it failed or was lost."""
    from .. import runs
    from ..roots import Roots

    project = Roots.of([arguments.project]).paths[0]
    seen = runs.view(runs.find_run(project, arguments.run))
    try:
        return follow(seen)
    except KeyboardInterrupt:
        print(f"\nNo longer watching. The run goes on; `stationmaster watch {seen.name}` shows it again.")
        return 130


def follow(seen: RunView) -> int:
    """Shows the run until it is over; the exit code of the command."""
    from .. import progress, runs
    from ..answer import shown

    screen = Screen()
    while not seen.over:
        screen.show(seen)
        time.sleep(LOOK_SECONDS)
        seen = runs.view(seen.run)
    screen.show(seen)
    screen.clear()
    print(shown(progress.text(seen, now=time.time(), for_person=True)), flush=True)
    return 0 if seen.state in ("succeeded", "stopped") else 1


class Screen:
    """A line that is written over on a terminal; elsewhere a line now and then. News stand above and stay."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.told: Cursor | None = None
        self.last = -PLAIN_SECONDS
        self.step = -1

    def show(self, seen: RunView, beside: str = "") -> None:
        """Draws the run; `beside` stands behind its numbers."""
        from .. import progress
        from ..answer import shown
        from ..cursor import Cursor

        now = Cursor.of(seen.status)
        news = progress.news(seen, self.told) if self.told is not None and self.told.differs(now) else []
        self.told = now
        if news:
            self.clear()
            print(shown("\n".join(news)), flush=True)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            line = f"{progress.bar(seen.status)} {progress.one_line(seen.status)}{beside}"
            print(f"\r\x1b[K{shown(line)[:width]}", end="", flush=True)
        elif seen.status.step != self.step and (news or time.monotonic() - self.last >= PLAIN_SECONDS):
            print(shown(f"{seen.name}: {progress.one_line(seen.status)}{beside}"), flush=True)
            self.last, self.step = time.monotonic(), seen.status.step

    def clear(self) -> None:
        """Takes the line away, so that something else may stand there."""
        if self.live:
            print("\r\x1b[K", end="", flush=True)
