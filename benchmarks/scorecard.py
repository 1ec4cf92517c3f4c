"""The scorecard of the early warnings: how often they are right, how late, and what others say of the same logs.

usage: python benchmarks/scorecard.py [--seeds 5] [--quick] [--logs FOLDER] [--write README.md]

`--logs` (or the variable LOGS): a folder with `labels.csv` and `dev/*.jsonl`, real logs with labels given by hand.
`--quick` leaves out the public tools. A fault counts as found when a rule of its class warned, once per log; a class
that was named without being there counts against precision, unless it is a symptom that the fault brings with it.
Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import labelled
import rivals
from corpus import Log
from rules import CLASS_OF, CLASSES, Judged, delay, judged

CO = {
    "nan": {"spike", "divergence", "gradspike", "no_learning"},
    "spike": {"gradspike", "divergence"},
    "gradspike": {"spike", "divergence"},
    "divergence": {"spike", "gradspike", "overfit", "no_learning"},
    "breakdown": {"nan", "spike", "gradspike", "divergence", "no_learning", "dead", "overfit"},
    "overfit": {"divergence"},
    "no_learning": {"overfit", "lr", "frozen"},
    "lr": {"no_learning"},
    "frozen": {"no_learning"},
    "vanishing": {"no_learning"},
    "dead": {"no_learning", "vanishing"},
    "initial": {"spike", "gradspike", "divergence", "dead"},
}
"""Fault → classes that a sound diagnosis may add to it."""
IN_A_FILE = {"nan", "spike", "gradspike", "overfit", "divergence", "no_learning", "lr", "breakdown"}
"""Faults that a log of any tool can show; the others need facts about the layers."""
INSIDE = {
    "nan_inside_a_window",
    "nan_gradient_that_was_applied",
    "spike_inside_a_window",
    "gradient_spike_inside_a_window",
}
"""Kinds whose fault lies between two rows of a log: only a record that keeps the extremes of its steps shows it."""
BEGIN, END = "<!-- scorecard: `make scorecard` -->", "<!-- end of the scorecard -->"
PARTS = ("made", "held out", "trained here")


@dataclass
class Case:
    """One log of the corpus and what the rules said of it."""

    name: str
    part: str
    fault: str
    points: int
    said: set[str]
    """Classes warned of while the run went on, also where it was taken back later."""
    final: bool
    """Whether a warning still stands at the end."""
    alerts: int
    """Episodes of warning or worse."""
    late: int | None
    """Logged points between the visible fault and its alert; None when it was not found."""
    plain: set[str]
    """Classes that the finished log alone gives away: no plan, no facts, no extremes of windows."""


def cases(seeds: int) -> list[tuple[str, int, str]]:
    """(kind, seed, part) of every log of the corpus. Seeds below 100 were looked at while the rules were made."""
    made = [
        (kind.__name__, seed, part)
        for part in PARTS[:2]
        for kind in (*corpus.HEALTHY, *corpus.FAULTY)
        for seed in range(100, 100 + seeds)
    ]
    real = (*corpus.REAL_HEALTHY, *corpus.REAL_FAULTY)
    return made + [(kind.__name__, seed, PARTS[2]) for kind in real for seed in range(max(1, seeds // 3))]


def made(name: str, seed: int, part: str) -> Log:
    return corpus.make(corpus.named(name), seed, part == "held out")


def judge_case(case: tuple[str, int, str], finished: bool = True) -> Case:
    """`finished`: judge the finished log alone as well."""
    name, seed, part = case
    log = made(name, seed, part)
    told: Judged = judged(log)
    late = None if told.named is None else delay(log, told.named)
    points = len(corpus.trains(log.records)) or len(log.records)
    plain = labelled.classes(rivals.rows_of(log.records)) if finished else set()
    return Case(
        f"{name}-{seed}-{part[0]}", part, log.fault, points, told.classes, bool(told.final), len(told.told), late, plain
    )


def right(case: Case, said: set[str]) -> bool:
    """Whether the fault's class (any sign of a breakdown) is among what was said."""
    wanted = {CLASS_OF[rule] for rule in CLASSES[case.fault]} if case.fault else set()
    return bool(said & wanted)


def wrong(case: Case, said: set[str]) -> set[str]:
    """Classes said that are neither the fault nor what it brings with it."""
    allowed = {case.fault, *CO.get(case.fault, set()), *(CLASS_OF[rule] for rule in CLASSES.get(case.fault, ()))}
    return said - allowed


def table(found: Sequence[Case]) -> list[str]:
    """Per class: recall, precision, delay; by part of the corpus."""
    lines = [
        "| fault | logs | recall: made | held out | trained here | precision | delay, median | 90 % |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for fault in CLASSES:
        logs = [case for case in found if case.fault == fault]
        hits = sum(right(case, case.said) for case in logs)
        false = sum(fault in wrong(case, case.said) for case in found)
        late = sorted(case.late for case in logs if case.late is not None)
        parts = [
            share([right(case, case.said) for case in logs if case.part == part]) if logs else "" for part in PARTS
        ]
        precision = "–" if fault == "breakdown" else percent(hits, hits + false)
        middle, high = (late[len(late) // 2], late[int(0.9 * (len(late) - 1))]) if late else ("–", "–")
        lines.append(f"| {NAMES[fault]} | {len(logs)} | {' | '.join(parts)} | {precision} | {middle} | {high} |")
    return lines


NAMES = {
    "nan": "NaN or Inf",
    "spike": "loss spike",
    "gradspike": "gradient-norm spike",
    "overfit": "overfitting",
    "divergence": "divergence",
    "no_learning": "no learning",
    "lr": "learning rate near zero",
    "breakdown": "breakdown (any sign)",
    "frozen": "frozen parameters",
    "vanishing": "vanishing gradient",
    "dead": "dead units",
    "initial": "bad initial loss",
}


def percent(part: int, whole: int) -> str:
    return f"{100.0 * part / whole:.1f} %" if whole else "–"


def share(hits: Sequence[bool]) -> str:
    return percent(sum(hits), len(hits))


def silence(found: Sequence[Case]) -> list[str]:
    """How quiet healthy runs stay, by part of the corpus."""
    lines = [
        "| healthy runs | logs | warned, of 50: while it ran | at the end | false alerts per run | per 1,000 points |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for part in (*PARTS, "all"):
        logs = [case for case in found if not case.fault and part in (case.part, "all")]
        if not logs:
            continue
        alerts, points = sum(case.alerts for case in logs), sum(case.points for case in logs)
        warned = 50.0 * sum(bool(case.said) for case in logs) / len(logs)
        standing = 50.0 * sum(case.final for case in logs) / len(logs)
        rates = f"{alerts / len(logs):.3f} | {1000 * alerts / points:.3f}"
        lines.append(f"| {part} | {len(logs)} | {warned:.2f} | {standing:.2f} | {rates} |")
    return lines


def beside(found: Sequence[Case], others: dict[str, dict[str, set[str]]]) -> list[str]:
    """The rules on finished logs alone beside the literal rules and the public tools."""
    logs = [case for case in found if in_a_file(case)]
    faults = [fault for fault in CLASSES if fault in IN_A_FILE]
    lines = [
        f"| on the finished log alone | healthy warned, of 50 | {' | '.join(NAMES[fault] for fault in faults)} "
        "| precision | F1 |",
        "|---|--:|" + "--:|" * (len(faults) + 2),
    ]
    mine = {"**these rules**": {case.name: case.plain for case in logs}, **others}
    for tool, said in mine.items():
        healthy = [case for case in logs if not case.fault]
        warned = 50.0 * sum(bool(said[case.name]) for case in healthy) / len(healthy)
        hits = {f: [right(case, said[case.name]) for case in logs if case.fault == f] for f in faults}
        true = sum(sum(each) for each in hits.values())
        missed = sum(len(each) for each in hits.values()) - true
        false = sum(len(wrong(case, said[case.name])) for case in logs)
        recall = " | ".join(f"{100 * sum(each) / max(1, len(each)):.0f}" for each in hits.values())
        score = 2 * true / max(1, 2 * true + missed + false)
        lines.append(f"| {tool} | {warned:.1f} | {recall} | {true / max(1, true + false):.2f} | {score:.2f} |")
    return lines


def in_a_file(case: Case) -> bool:
    """Whether the log of any tool could show the fault (or the run is healthy)."""
    return not case.fault or (case.fault in IN_A_FILE and case.name.split("-")[0] not in INSIDE)


def compare(found: Sequence[Case], seeds: int, quick: bool) -> tuple[dict[str, dict[str, set[str]]], dict[str, str]]:
    """What the literal rules and the tools say of the same logs, and why a tool said nothing."""
    wanted = {case.name for case in found if in_a_file(case)}
    listed = zip(cases(seeds), found, strict=True)
    logs = {case.name: rivals.rows_of(made(*key).records) for key, case in listed if case.name in wanted}
    said = {"the checklist, literally": {name: rivals.literal(rows) for name, rows in logs.items()}}
    if quick:
        return said, {}
    tools, missing = rivals.verdicts(logs)
    known = set(NAMES)
    return said | {tool: {n: s & known for n, s in each.items()} for tool, each in tools.items()}, missing


def goals(found: Sequence[Case]) -> list[str]:
    """The goals that were missed."""
    healthy = [case for case in found if not case.fault]
    missed = []
    if 50 * sum(case.final for case in healthy) > len(healthy):
        missed.append("more than one healthy log in 50 ends with a warning")
    for fault in CLASSES:
        logs = [case for case in found if case.fault == fault]
        late = sorted(case.late for case in logs if case.late is not None)
        if sum(right(case, case.said) for case in logs) < 0.95 * len(logs):
            missed.append(f"recall of {NAMES[fault]} is below 0.95")
        if late and late[len(late) // 2] > 10:
            missed.append(f"median delay of {NAMES[fault]} is above 10 points")
    return missed


def written(path: Path, lines: Sequence[str]) -> None:
    """Puts the lines between the markers of a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


def report(arguments: Any) -> tuple[list[str], list[str]]:
    """(lines of the scorecard, goals missed)."""
    with multiprocessing.Pool(min(2, os.cpu_count() or 1)) as pool:
        found = pool.map(judge_case, cases(arguments.seeds), chunksize=8)
    others, missing = compare(found, arguments.seeds, arguments.quick)
    lines = [*table(found), "", *silence(found), "", *beside(found, others)]
    missed = goals(found)
    if arguments.logs:
        more, short = labelled.scored(Path(arguments.logs), arguments.quick)
        lines, missed = [*lines, "", *more], missed + short
    lines += [f"\n{tool} did not run: {why}" for tool, why in missing.items()]
    return lines, missed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--logs", default=os.environ.get("LOGS", ""))
    parser.add_argument("--write")
    arguments = parser.parse_args()
    lines, missed = report(arguments)
    print("\n".join(lines))
    if arguments.write:
        written(Path(arguments.write), lines)
    print("\n".join(f"GOAL MISSED: {one}" for one in missed) or "every goal is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
