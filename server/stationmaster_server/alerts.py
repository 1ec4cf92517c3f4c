"""The alert episodes of a run, read from `alerts.jsonl`, each in its newest form: an episode is a rule and a step.

A damaged line is skipped and counted, never raised: the warnings that can be read must not be lost with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stationmaster_trainer import codec, rundir, stream
from stationmaster_trainer.contract import Alert
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.rundir import RunDir

RECENT = 16 << 10
"""Bytes at the end of a file that a look at a going run reads: some thirty alerts."""
MOST = 8 << 20
"""Bytes at the end of a file that the report reads."""


@dataclass(frozen=True)
class Episode:
    """An alert in its newest form."""

    attempt: int
    alert: Alert
    superseded: bool = False
    """It began at a step that a later attempt did again."""


def recent(run: RunDir, attempt: int) -> list[Alert]:
    """The newest episodes of one attempt, in the order in which they began; a bounded read."""
    found, _ = _newest(run.attempt(attempt).alerts, RECENT)
    return list(found.values())


def episodes(run: RunDir) -> tuple[list[Episode], int]:
    """Every episode of every attempt by attempt and first step, and the number of unreadable lines."""
    found, damaged = [], 0
    for number, limit in stream.limits(run).items():
        alerts, bad = _newest(run.attempt(number).alerts, MOST)
        damaged += bad
        for alert in alerts.values():
            found.append(Episode(number, alert, limit is not None and alert.first_step > limit))
    return sorted(found, key=lambda episode: (episode.attempt, episode.alert.first_step)), damaged


def _newest(path: Path, size: int) -> tuple[dict[tuple[str, str, int], Alert], int]:
    found: dict[tuple[str, str, int], Alert] = {}
    damaged = 0
    for line in _lines(path, size):
        try:
            alert = codec.loads(Alert, line, str(path))
        except FormatError:
            damaged += 1
            continue
        found[alert.rule, alert.series, alert.first_step] = alert
    return found, damaged


def _lines(path: Path, size: int) -> list[bytes]:
    """The complete lines in the last `size` bytes; none for what is missing or no plain file."""
    try:
        data = rundir.read(path, size, tail=True)
    except (OSError, FormatError):
        return []
    complete = data[: data.rfind(b"\n") + 1].splitlines()
    return complete[1:] if len(data) == size else complete
