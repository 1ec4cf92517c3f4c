"""Real logs that were labelled by hand: scored per log and class, beside the literal rules and the public tools.

The folder holds `labels.csv` (id, primary, all_labels, confidence, events, note) and `dev/<id>.jsonl`. Logs of low
confidence are left out; a class that a note calls ambiguous is not counted. Nothing of the logs is kept here.
"""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rivals
from rules import CLASS_OF

from stationmaster_trainer.contract import Train
from stationmaster_trainer.judge import Judge
from stationmaster_trainer.readers import jsonl
from stationmaster_trainer.verdict import Account, verdict

CO = {
    "nan": {"spike", "divergence", "gradspike", "no_learning"},
    "spike": {"gradspike", "divergence"},
    "divergence": {"spike", "gradspike", "overfit", "no_learning"},
    "overfit": {"divergence"},
    "no_learning": {"overfit", "lr"},
    "gradspike": {"spike"},
    "underfit": {"no_learning"},
}
OPEN = {"OFAMB": "overfit", "GNAMB": "gradspike", "SPAMB": "spike"}
FITTING = {
    "clean": {"converged", "underfitting", "too_short_to_say"},
    "gradspike": {"converged", "unstable", "underfitting"},
    "spike": {"unstable", "diverged", "converged"},
    "overfit": {"overfitting"},
    "underfit": {"underfitting"},
    "no_learning": {"not_learning"},
    "divergence": {"diverged", "unstable"},
    "nan": {"diverged", "unstable", "not_learning"},
}
"""Label → verdicts that are right for it; of several labels any will do."""


@dataclass
class Real:
    """A labelled log and what the rules say of it."""

    name: str
    labels: set[str]
    open: set[str]
    rows: list[dict[str, Any]]
    said: set[str]
    verdict: str
    late: int | None
    """Logged points from the labelled start of a spike or a divergence to its alert."""


def classes(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Classes that a finished log alone gives away, read and judged as `stationmaster diagnose` does."""
    return _judged(rows, None)[0]


def _judged(rows: Sequence[dict[str, Any]], start: int | None) -> tuple[set[str], str, int | None]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        reading = jsonl.read(path)
        judge, account, late, points = Judge(), Account(), None, 0
        for record in reading.records:
            told = judge.see(record)
            account.see(record)
            points += isinstance(record, Train)
            if (
                start is not None
                and late is None
                and any(_names_a_jump(alert) for alert in told)
                and points > 0.9 * start
            ):
                late = max(0, points - 1 - start)  # a hand is not exact to the row
    judge.finish()
    said = {CLASS_OF[alert.rule] for alert in judge.alerts() if alert.severity != "info"}
    return said, verdict(account, judge.alerts()).name, late


def _names_a_jump(alert: Any) -> bool:
    return alert.severity != "info" and CLASS_OF[alert.rule] in ("spike", "divergence", "nan")


def read(folder: Path) -> list[Real]:
    """Every labelled log of the folder, judged."""
    found = []
    with (folder / "labels.csv").open() as file:
        listed = list(csv.DictReader(file))
    for row in listed:
        path = folder / "dev" / f"{row['id']}.jsonl"
        if row["confidence"] not in ("high", "medium") or not path.exists():
            continue
        labels = {part.split("@")[0].split("#")[0] for part in row["all_labels"].split("+")}
        labels = {"no_learning" if label == "plateau" else label for label in labels}
        unclear = {name for mark, name in OPEN.items() if mark in (row["note"] or "")}
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found.append(Real(row["id"], labels, unclear, rows, *_judged(rows, _start(row, rows))))
    return found


def _start(row: dict[str, str], rows: Sequence[dict[str, Any]]) -> int | None:
    """Train rows before the spike or divergence of the train loss, where its row was given by hand (`spike@101`)."""
    events = [e for e in json.loads(row["events"] or "[]") if e.get("label") in ("spike", "divergence")]
    dated = re.search(r"(?:spike|divergence)@(\d+)", row["all_labels"])
    if dated is None or not events or events[0].get("series") != "train_loss":
        return None
    return sum(1 for one in rows[: int(dated[1])] if one.get("loss") is not None)


@dataclass
class Score:
    """Counts over the logs for one tool."""

    hits: Counter[str]
    false: Counter[str]
    missed: Counter[str]
    warned: int

    @property
    def f1(self) -> float:
        true = self.hits.total()
        return 2 * true / max(1, 2 * true + self.false.total() + self.missed.total())


def score(logs: Sequence[Real], said: dict[str, set[str]]) -> Score:
    """Once per log and class; what a sound diagnosis may add is not counted against it."""
    total = Score(Counter(), Counter(), Counter(), 0)
    for log in logs:
        faults = log.labels - {"clean", "underfit"}
        heard = said[log.name] - (log.open - faults)
        total.hits.update(faults & heard)
        total.missed.update(faults - heard)
        total.false.update(heard - faults - set().union(*(CO.get(label, set()) for label in log.labels)))
        total.warned += log.labels == {"clean"} and bool(heard)
    return total


def scored(folder: Path, quick: bool) -> tuple[list[str], list[str]]:
    """(lines of the table, goals missed)."""
    logs = read(folder)
    clean = sum(log.labels == {"clean"} for log in logs)
    said = {"**these rules**": {log.name: log.said for log in logs}}
    said["the checklist, literally"] = {log.name: rivals.literal(_finite_or_nan(log.rows)) for log in logs}
    if not quick:
        tools, _ = rivals.verdicts({log.name: _finite_or_nan(log.rows) for log in logs})
        known = set(CLASS_OF.values())
        said |= {tool: {name: some & known for name, some in each.items()} for tool, each in tools.items()}
    faults = ("nan", "spike", "gradspike", "overfit", "divergence", "no_learning")
    lines = [
        f"| on {len(logs)} labelled real logs | clean warned, of {clean} | " + " | ".join(faults) + " | F1 |",
        "|---|--:|" + "--:|" * (len(faults) + 1),
    ]
    for tool, heard in said.items():
        one = score(logs, heard)
        cells = [f"{_share(one.hits[f], one.missed[f])} / {_share(one.hits[f], one.false[f])}" for f in faults]
        lines.append(f"| {tool} | {one.warned} | {' | '.join(cells)} | {one.f1:.3f} |")
    mine = score(logs, said["**these rules**"])
    good = sum(any(log.verdict in FITTING[label] for label in log.labels) for log in logs)
    late = [log.late for log in logs if log.late is not None]
    lines += [
        "",
        f"(Recall / precision.) Verdicts right in {good} of {len(logs)}; alert on a spike or divergence of the train "
        f"loss {statistics.median(late or [0]):g} logged points after the row given by hand (median of {len(late)}).",
    ]
    return lines, _missed(mine, clean, good / max(1, len(logs)))


def _missed(mine: Score, clean: int, verdicts: float) -> list[str]:
    """The goals for real logs: F1 0.92, 2 % of the clean logs, 92 % of the verdicts."""
    found = [f"F1 {mine.f1:.3f} on the labelled logs is below 0.92"] if mine.f1 < 0.92 else []
    found += [f"{mine.warned} of {clean} clean logs were warned of"] if mine.warned > 0.02 * clean else []
    return found + ([f"{verdicts:.0%} of the verdicts are right"] if verdicts < 0.92 else [])


def _share(part: int, rest: int) -> str:
    return f"{part / (part + rest):.2f}" if part + rest else "–"


def _finite_or_nan(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the other tools read them: a null is a NaN there."""
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
