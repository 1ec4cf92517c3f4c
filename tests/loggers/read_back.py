"""Reads what the loggers have written, by other means than theirs, as rows by step to be compared with metrics.csv."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from process_bench import eventually, processes_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stationmaster_server import runs
from stationmaster_trainer import ledger
from stationmaster_trainer.contract import LoggerState
from stationmaster_trainer.rundir import RunDir

Rows = list[tuple[int, dict[str, float]]]


def ended(run: RunDir) -> dict[str, LoggerState]:
    """Waits until no process works for the run any more; the loggers' last words by name."""
    eventually(lambda: not processes_of(run.path), 60.0)
    return {logger.name: logger for logger in runs.view(run).status.loggers}


def working_recorder(run: RunDir, name: str, beyond: int = 0) -> tuple[int, int] | None:
    """Pid of the recorder and the bytes of the newest stream that its logger has taken, once more than `beyond`."""
    entries = [entry for entry in ledger.load(run).entries if entry.logger.name == name and entry.mark]
    if not entries or entries[0].attempt < run.attempts()[-1].number or entries[0].offset <= beyond:
        return None
    if entries[0].logger.state != "ok":
        return None
    for pid in processes_of(run.path):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"stationmaster_recorder" in command:
            return pid, entries[0].offset
    return None


def csv_rows(run: RunDir) -> Rows:
    """The rows of metrics.csv, those of one step joined."""
    with run.metrics_csv.open() as file:
        cells = [
            (int(row["step"]), {k: float(v) for k, v in row.items() if v and "/" in k}) for row in csv.DictReader(file)
        ]
    return joined(cells)


def wandb_records(folder: Path) -> list[dict[str, Any]]:
    """Every record of an offline run, as W&B's own inspector prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wandb_rows(records: list[dict[str, Any]]) -> Rows:
    """The history of an offline run; not joined: a step that stands twice shows."""
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [(item["_step"], figures(item)) for item in items]


def trackio_rows(database: Path) -> Rows:
    """The metrics table, joined by step as in the file; a row that stands twice raises."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        cells = connection.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
    connection.close()
    return joined([(step, figures(json.loads(metrics))) for step, metrics in cells])


def board(run: RunDir) -> Any:
    """TensorBoard's own reader on the run."""
    reader = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    reader.Reload()
    return reader


def board_rows(run: RunDir) -> Rows:
    """TensorBoard's scalars by step; they are single precision."""
    reader, found = board(run), dict[int, dict[str, float]]()
    for tag in reader.Tags()["scalars"]:
        events = reader.Scalars(tag)
        assert len({event.step for event in events}) == len(events), f"{tag} has a step twice"
        for event in events:
            found.setdefault(event.step, {})[tag] = event.value
    return sorted(found.items())


def figures(item: dict[str, Any]) -> dict[str, float]:
    """The figures among a row's values, without what only places it."""
    names = [name for name in item if "/" in name and name not in ("train/global_step", "train/epoch")]
    return {name: float(item[name]) for name in names}


def joined(cells: Rows) -> Rows:
    """Rows of the same step in one; a figure that would stand twice raises."""
    found: Rows = []
    for step, values in cells:
        if found and found[-1][0] == step:
            assert not set(found[-1][1]) & set(values), f"step {step} stands twice"
            found[-1][1].update(values)
        else:
            found.append((step, dict(values)))
    return found


def same(left: Rows, right: Rows, tolerance: float = 0.0) -> bool:
    """Whether both hold the same steps in the same order with the same figures, NaN equal to NaN."""
    if [(step, sorted(values)) for step, values in left] != [(step, sorted(values)) for step, values in right]:
        return False
    pairs = [(a[name], b[name]) for (_, a), (_, b) in zip(left, right, strict=True) for name in a]
    return all(
        a == b or (math.isnan(a) and math.isnan(b)) or (tolerance > 0 and math.isclose(a, b, rel_tol=tolerance))
        for a, b in pairs
    )
