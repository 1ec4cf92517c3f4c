"""Public training scripts adopted as they are: what stationmaster sees of each, beside what the script says itself.

    python benchmarks/public.py PROJECTS [--only NAME ...] [--no-stop] [--cost ROUNDS] [--write docs/support.md]

PROJECTS holds the prepared projects, a virtual environment `venv` with what they need, a folder `home`, and
`projects.json`: for each script its repository, commit, path, folder, command line, and patterns of what it prints
(`adopting/case.py`). Their files and data are not part of this repository. Each script goes through a real client and
server: gates, run to its end, and a longer command that is stopped in its middle, after which no process of it may be
left. Steps, losses, rates, norms and validations are compared with its own output, to its last printed digit.
Not covered: GPUs, and how good the models get.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import measured
from adopting import case as cases
from adopting import comparison, cost, visit
from adopting.case import Case
from adopting.comparison import COLUMNS

RESULTS = "results.json"
Kept = dict[str, Any]
"""`cells` of the table, what is `wrong`, the folder of the `run`, its `sight`, the `stop` and the `cost`."""


def main() -> None:
    """Visits each script, prints its line, and writes the table when asked to."""
    options = _options()
    projects = options.projects.resolve()
    kept = _kept(projects)
    for one in cases.read(projects):
        if options.table or (options.only and not any(name in one.name for name in options.only)):
            continue
        found = _visited(one, projects, options)
        kept = {**_kept(projects), one.name: found}  # another one may have written meanwhile
        (projects / RESULTS).write_text(json.dumps(kept, indent=1, ensure_ascii=False))
        print(one.name, "|", " | ".join(kept[one.name]["cells"]), flush=True)
        print("   ", kept[one.name]["sight"], flush=True)
        for wrong in kept[one.name]["wrong"]:
            print("    not as it should be:", wrong, flush=True)
    table = _table(cases.read(projects), kept)
    print(table)
    if options.write:
        measured.write(options.write, "public", table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("projects", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--no-stop", action="store_true")
    parser.add_argument("--no-run", action="store_true", help="only the stop")
    parser.add_argument("--again", action="store_true", help="only compare again what the runs before have left")
    parser.add_argument("--cost", type=int, default=0, help="rounds, with and without the probe in turn")
    parser.add_argument("--table", action="store_true", help="only the table of what was kept")
    parser.add_argument("--write", type=Path)
    return parser.parse_args()


def _kept(projects: Path) -> dict[str, Kept]:
    with suppress(FileNotFoundError):
        kept: dict[str, Kept] = json.loads((projects / RESULTS).read_text())
        return kept
    return {}


def environment(projects: Path) -> dict[str, str]:
    """What the server of a visit gets: one thread, no hub, the projects' own Python and home."""
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
    python = projects / "venv" / "bin" / "python"
    path = f"{python.parent}:{os.environ['PATH']}"
    return {**quiet, "PATH": path, "HOME": str(projects / "home"), "STATIONMASTER_PYTHON": str(python)}


def _visited(one: Case, projects: Path, options: argparse.Namespace) -> Kept:
    folder, given = projects / one.folder, {**environment(projects), **one.environment}
    before = _kept(projects).get(one.name, {})
    seen, stopped, trouble = None, None, ""
    if options.again or options.no_run:
        seen = visit.look(Path(before["run"])) if before.get("run") else None
    if not options.again:
        with visit.visiting(folder, given, projects / "server.log") as client:
            try:
                seen = seen or (None if one.endless else visit.run(client, one))
                stopped = None if options.no_stop else visit.stop(client, one)
                seen = visit.look(Path(stopped.folder)) if stopped and one.endless else seen
            except (RuntimeError, OSError) as error:
                trouble = f"{type(error).__name__}: {str(error)[:600]}"
    stop = asdict(stopped) if stopped is not None else before.get("stop")
    found = comparison.row(one, seen, visit.Stopped(**stop) if stop else None, trouble)
    paid = cost.of(one, folder, given, options.cost) if options.cost else before.get("cost", "–")
    run = str(seen.folder) if seen is not None else ""
    sight = seen.sight if seen is not None else ""
    return {"cells": [*found.cells, paid], "wrong": found.wrong, "run": run, "sight": sight, "stop": stop, "cost": paid}


def _table(all_cases: list[Case], kept: dict[str, Kept]) -> str:
    lines = [
        "| script | what drives it | " + " | ".join((*COLUMNS, "cost")) + " |",
        "| --- " * (len(COLUMNS) + 3) + "|",
    ]
    for one in all_cases:
        if one.name in kept:
            where = f"{one.name}: {one.repository}@{one.commit[:8]} `{one.path}`"
            lines.append(f"| {where} | {one.kind} | " + " | ".join(kept[one.name]["cells"]) + " |")
    versions = (
        f"{date.today()}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.0f}."
    )
    return "\n".join([*lines, "", versions])


if __name__ == "__main__":
    main()
