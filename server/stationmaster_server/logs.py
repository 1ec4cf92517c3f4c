"""Training logs below a project, of any tool, newest first: how far they came, and whether a process writes one now.

Runs of stationmaster have their own list. The search is bounded in time and says when it was cut.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from stationmaster_trainer.errors import StationmasterError
from stationmaster_trainer.readers import csv, json, jsonl, run, text
from stationmaster_trainer.readers._folder import Found, _below

from . import live
from .answer import clean
from .writers import Writer

MAX_SECONDS = 2.0
"""For the search."""
MAX_LOGS = 200
JUDGED = 3
"""Newest logs that are read."""
MAX_JUDGED_BYTES = 20_000_000
MAX_JUDGING = 3.0
"""Seconds after which no further log is read."""
TABLES = (csv, json, jsonl, text)
"""Readers of files that may as well hold anything else."""
HEAD = 65_536


@dataclass(frozen=True)
class LogFacts:
    """One log."""

    path: str
    """Relative to the project."""
    changed: float
    """Wall clock of its last change."""
    source: str = ""
    """What it is; empty when it was not read."""
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    pace: float | None = None
    """Steps a second."""
    running: bool = False
    writer: Writer | None = None
    verdict: str = ""
    stepped: bool = False
    """Whether it has a column of steps or epochs beside its loss: no data to train on."""
    alerts: tuple[str, ...] = ()
    """Rules whose alerts are open, the worst first."""


def find(project: Path) -> tuple[list[LogFacts], str]:
    """(the logs, newest first; what was left out, in words)."""
    began, found, note = time.monotonic(), list[Found](), ""
    for log in _below(project):
        if log.reader.RANK != run.RANK and (log.reader not in TABLES or _names_a_loss(log.path)):
            found.append(log)
        if time.monotonic() - began > MAX_SECONDS or len(found) >= MAX_LOGS:
            note = f"the search for training logs ended after {time.monotonic() - began:.0f} s, there may be more"
            break
    found.sort(key=lambda log: (-log.changed, log.path))
    told, judging = [], time.monotonic()
    for at, log in enumerate(found):
        read = at < JUDGED and time.monotonic() - judging < MAX_JUDGING and _bytes(log.path) <= MAX_JUDGED_BYTES
        told.append(_judged(project, log) if read else _untold(project, log))
    return told, note


def _judged(project: Path, log: Found) -> LogFacts:
    try:
        seen = live.of(log.path, project=project)
        found, pulse = seen.look(), seen.pulse()
        answer = found.answer()
    except (StationmasterError, OSError):
        return _untold(project, log)
    return LogFacts(
        path=_place(project, log),
        changed=pulse.changed,
        source=clean(found.reading.source, 80),
        step=pulse.step,
        total_steps=pulse.total_steps,
        loss=found.newest.loss if found.newest else None,
        eval_loss=found.validation.loss if found.validation else None,
        pace=pulse.pace,
        running=pulse.running,
        writer=pulse.writer,
        stepped=bool({"step", "epoch"} & found.reading.columns.keys()),
        verdict=str(answer["verdict"]),
        alerts=tuple(alert["rule"] for alert in answer["alerts"] if alert["open"] and alert["severity"] != "info"),
    )


def _untold(project: Path, log: Found) -> LogFacts:
    return LogFacts(_place(project, log), log.changed)


def _place(project: Path, log: Found) -> str:
    return clean(log.path.relative_to(project).as_posix(), 200) or "."


def _bytes(path: Path) -> int:
    try:
        files = list(path.iterdir()) if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return MAX_JUDGED_BYTES + 1


def _names_a_loss(path: Path) -> bool:
    """Whether the beginning of a file speaks of a loss: tables and texts of a project may be anything."""
    try:
        with open(path, "rb") as file:
            return b"loss" in file.read(HEAD).lower()
    except OSError:
        return False
