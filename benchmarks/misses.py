"""The worst misses and false alerts of the early warnings, each with a picture and what was decided about it.

    python benchmarks/misses.py [--seeds 10] [--write docs/warnings.md]

Over the made logs of the scorecard, with more seeds than it takes. Not covered: real logs of other people, whose curves
are theirs to show.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import decided
import measured
import scorecard
from rules import CLASSES, judged

from stationmaster_server import drawing
from stationmaster_trainer.contract import Alert, Eval, Train

MOST = 10
OF_A_KIND = 2
"""Pictures of one kind at the most: the third would say nothing new."""
POINTS = 300
"""Points of a curve in a picture."""
ORDER = ("missed", "false, stands at the end", "another class", "false, taken back", "late")
LATE = 10
"""Logged points behind the visible fault from which a right alert counts as late."""


@dataclass(frozen=True)
class Miss:
    """One log of which the rules said the wrong thing."""

    case: scorecard.Case
    what: str
    """One of `ORDER`."""
    said: tuple[str, ...]


def misses(found: Sequence[scorecard.Case]) -> list[Miss]:
    """Every log that was not judged rightly and at once, the worst first."""
    made = [Miss(case, what, tuple(sorted(case.said))) for case in found if (what := _what(case))]
    return sorted(made, key=lambda miss: (ORDER.index(miss.what), -(miss.case.late or 0), miss.case.name))


def _what(case: scorecard.Case) -> str:
    if case.fault and not scorecard.right(case, case.said):
        return "missed"
    if not case.fault:
        return "" if not case.said else "false, stands at the end" if case.final else "false, taken back"
    if scorecard.wrong(case, case.said):
        return "another class"
    return "late" if (case.late or 0) > LATE and case.fault not in ("no_learning", "lr", "divergence") else ""


def worst(all_: Sequence[Miss]) -> list[Miss]:
    """Ten at the most, and no more than two of a kind."""
    taken: Counter[str] = Counter()
    chosen = []
    for miss in all_:
        kind = miss.case.name.split("-")[0]
        if taken[kind] < OF_A_KIND and len(chosen) < MOST:
            taken[kind] += 1
            chosen.append(miss)
    return chosen


def picture(log: corpus.Log, title: str, alerts: Sequence[Alert]) -> str:
    """The log's curves as SVG, with the place of the fault and of the alerts."""
    train = [(record.step, record.loss) for record in log.records if isinstance(record, Train)]
    validation = [(record.step, record.loss) for record in log.records if isinstance(record, Eval)]
    marks = [drawing.Mark(alert.last_step, f"told: {alert.rule}", alert.severity) for alert in alerts]
    if log.fault:
        marks.append(drawing.Mark(log.records[log.visible].step, "the fault can be seen"))
    thin = max(1, len(train) // POINTS)
    return drawing.svg(drawing.Picture(title, train[::thin], [], validation, marks=marks))


def story(miss: Miss, place: int, folder: Path | None) -> list[str]:
    """The lines of one miss; writes its picture."""
    name, seed, part = miss.case.name.split("-")
    log = scorecard.made(name, int(seed), "held out" if part == "h" else "made")
    alerts = judged(log).told
    title = f"{name.replace('_', ' ')}, {len(corpus.trains(log.records)):,} points"
    heard = "; ".join(f"{one.severity} {one.rule} at step {one.last_step:,}: {one.message}" for one in alerts[:3])
    truth = miss.case.fault or "healthy"
    lines = [f"### {place}. {title}", "", f"*{miss.what}*. Truth: {truth}. Told: {heard or 'nothing'}."]
    if folder is not None:
        folder.mkdir(exist_ok=True)
        (folder / f"{place:02d}.svg").write_text(picture(log, title, alerts))
        lines += ["", f"![{title}]({folder.name}/{place:02d}.svg)"]
    return [*lines, "", decided.about(name, miss.what), ""]


def delays(found: Sequence[scorecard.Case]) -> list[str]:
    """How many logged points behind the visible fault its alert came, over all logs of a class."""
    lines = ["| fault | found | at once | 1–3 | 4–10 | 11–30 | later | missed |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for fault in CLASSES:
        logs = [case for case in found if case.fault == fault]
        late = [case.late for case in logs if case.late is not None and scorecard.right(case, case.said)]
        if logs:
            bounds = ((0, 0), (1, 3), (4, 10), (11, 30), (31, 10**9))
            cells = [str(sum(low <= one <= high for one in late)) for low, high in bounds]
            row = [scorecard.NAMES[fault], f"{len(late)} of {len(logs)}", *cells, str(len(logs) - len(late))]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def report(seeds: int, folder: Path | None) -> list[str]:
    """Everything between the markers."""
    every = [case for case in scorecard.cases(seeds) if case[2] != "trained here"]
    with multiprocessing.Pool(min(2, os.cpu_count() or 1)) as pool:
        found = pool.map(_judge, every, chunksize=8)
    bad = misses(found)
    counts = Counter(miss.what for miss in bad)
    healthy, kinds = sum(not case.fault for case in found), len({case[0] for case in every})
    lines = [
        f"{len(found):,} made logs ({healthy:,} healthy) of {kinds} kinds and {seeds} seeds; "
        "half of them are from ranges that no threshold was looked at with: "
        + ", ".join(f"{counts[what]} {what}" for what in ORDER) + ".",
        "", "## How late", "", *delays(found), "", "## The worst", "",
    ]  # fmt: skip
    for place, miss in enumerate(worst(bad), 1):
        lines += story(miss, place, folder)
    return lines


def _judge(case: tuple[str, int, str]) -> scorecard.Case:
    return scorecard.judge_case(case, finished=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--write", type=Path)
    arguments: Any = parser.parse_args()
    lines = report(arguments.seeds, arguments.write.with_suffix("") if arguments.write else None)
    print("\n".join(lines))
    if arguments.write:
        measured.write(arguments.write, "misses", "\n".join(lines))


if __name__ == "__main__":
    main()
