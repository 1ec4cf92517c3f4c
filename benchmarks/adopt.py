"""What an adopted script pays for being looked into, library by library: CPU of a step beside that of the bare script.

    python benchmarks/adopt.py [--rounds 5] [--only NAME ...] [--write docs/support.md]

The same file is run by its Python alone and through a real client and server, with supervisor, worker and recorder, a
record every ten steps. The script itself measures the CPU seconds of its process per step, from the 21st on, in six
stretches: other work on the machine hardly counts. Rounds turn their order; the best stretch of each side is compared,
and a difference within what the rounds of one side lie apart is called noise. Networks are small: one whose step takes
longer pays about the same microseconds. Not covered: GPUs, and what comes more seldom than once in a stretch.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import measured
from adopting import visit
from adopting.libraries import LIBRARIES
from adopting.visit import Visit

QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
TOLD = re.compile(r"^cpu (\S+)$", re.MULTILINE)


def bare(project: Path, arguments: list[str]) -> float:
    """CPU seconds of a step of the script alone."""
    command = [sys.executable, "train.py", *arguments]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, **QUIET}, check=True, stdout=subprocess.PIPE, text=True
    )
    return _told(done.stdout)


def adopted(guest: Visit, arguments: list[str]) -> tuple[float, str]:
    """The same of a run, and the steps that were seen."""
    folder = guest.begin({"script": "train.py", "script_args": arguments, "log_every": 10})
    visit.until(lambda: visit.status_of(folder).get("state") in visit.FINAL)
    seen = visit.look(folder)
    if seen.state != "succeeded":
        raise RuntimeError(f"{folder}: {seen.state} {seen.message}\n{seen.output[-2000:]}")
    return _told(seen.output), seen.rows[-1]["step"]


def _told(output: str) -> float:
    found = TOLD.search(output)
    if found is None:
        raise RuntimeError(f"the script said no time: {output[-2000:]}")
    return float(found[1])


def measure(name: str, rounds: int) -> list[str]:
    """The cells of one library."""
    text, steps, more = LIBRARIES[name]
    arguments = [str(steps), *more]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "train.py").write_text(text)
        alone, looked, seen = [], [], ""
        environment = {**os.environ, **QUIET}
        with visit.visiting(project, environment, project / "server.log") as guest:
            for number in range(rounds):
                for side in ("bare", "look") if number % 2 == 0 else ("look", "bare"):
                    if side == "bare":
                        alone.append(bare(project, arguments))
                    else:
                        seconds, seen = adopted(guest, arguments)
                        looked.append(seconds)
    if seen != str(steps):
        raise RuntimeError(f"{name}: {seen} of {steps} steps were seen")
    before, after = min(alone) * 1e6, min(looked) * 1e6
    spread = max(max(side) / min(side) - 1 for side in (alone, looked))
    noise = abs(after / before - 1) <= spread
    more = f"{after / before - 1:+.1%}{' (noise)' if noise else ''}"
    return [name, f"{before:,.0f}", f"{after - before:+,.0f}", more, f"{spread:.0%}"]


def table(rows: list[list[str]], rounds: int) -> str:
    """Markdown."""
    head = ["loop", "µs/step bare", "µs/step more", "more", "runs of a side apart"]
    lines = [f"| {' | '.join(cells)} |" for cells in [head, ["---", "--:", "--:", "--:", "--:"], *rows]]
    load = os.getloadavg()[0]
    return "\n".join(
        [
            *lines,
            "",
            f"Best of six stretches in each of {rounds} rounds. {date.today().isoformat()}, "
            f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.0f}, no GPU.",
        ]
    )


def main() -> None:
    """Prints a line per library, and writes the table when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--write", type=Path)
    asked: Any = parser.parse_args()
    rows = []
    for name in LIBRARIES:
        if not asked.only or any(part in name for part in asked.only):
            rows.append(measure(name, asked.rounds))
            print(" | ".join(rows[-1]), flush=True)
    if asked.write:
        measured.write(asked.write, "looks", table(rows, asked.rounds))


if __name__ == "__main__":
    main()
