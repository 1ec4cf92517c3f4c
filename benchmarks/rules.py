"""The early warnings over one log of the corpus: what was said and when; and what a record costs.

usage: python benchmarks/rules.py [SEEDS]     (default 10 seeds of each made kind; then the cost per record)
"""

from __future__ import annotations

import collections
import statistics
import sys
import time
from dataclasses import dataclass

import corpus

from stationmaster_trainer.contract import Alert
from stationmaster_trainer.judge import Judge

CLASSES = {
    "nan": {"non_finite"},
    "spike": {"loss_spike", "unstable"},
    "gradspike": {"grad_norm_spike"},
    "overfit": {"overfitting"},
    "divergence": {"divergence"},
    "no_learning": {"no_learning"},
    "lr": {"learning_rate_near_zero"},
    "breakdown": {"divergence", "non_finite", "loss_spike", "unstable"},
    "frozen": {"frozen_parameters"},
    "vanishing": {"vanishing_gradient"},
    "dead": {"dead_units"},
    "initial": {"bad_initial_loss"},
}
"""Class of fault → rules that name it. A breakdown is named by whichever sign comes first."""
CLASS_OF = {rule: fault for fault, rules in CLASSES.items() if fault != "breakdown" for rule in rules} | {
    "plateau": "no_learning"
}


@dataclass
class Judged:
    """What the rules said of a log."""

    final: list[Alert]
    """Episodes of warning or worse as they stand at the end."""
    told: list[Alert]
    """Every episode of warning or worse as it was first told, also where it was taken back."""
    named: int | None
    """Place of the record at which the fault was named, once it could be seen."""

    @property
    def classes(self) -> set[str]:
        """Classes warned of at any time."""
        return {CLASS_OF[alert.rule] for alert in self.told}


def judged(log: corpus.Log) -> Judged:
    """The log through a fresh judge, record by record, as in a run that goes on."""
    judge, named = Judge(log.plan), None
    wanted = CLASSES.get(log.fault, set())
    told: dict[tuple[str, str, int], Alert] = {}

    def tell(alerts: list[Alert]) -> list[Alert]:
        grave = [alert for alert in alerts if alert.severity != "info"]
        for alert in grave:
            told.setdefault((alert.rule, alert.series, alert.first_step), alert)
        return grave

    for place, record in enumerate(log.records):
        changes = tell(judge.see(record))
        known = changes if place > log.visible else [a for a in judge.open_alerts() if a.severity != "info"]
        if named is None and place >= log.visible and any(alert.rule in wanted for alert in known):
            named = place
    tell(judge.finish())
    broken = [seat.broken for seat in judge.seats if seat.broken]
    if broken:
        raise RuntimeError(f"{broken[0]} (fault {log.fault!r})")
    final = [alert for alert in judge.alerts() if alert.severity != "info"]
    if named is None and any(alert.rule in wanted for alert in final):
        named = len(log.records)
    return Judged(final, list(told.values()), named)


def delay(log: corpus.Log, named: int) -> int:
    """Logged points of the judged kind between the visible fault and its alert."""
    kind = type(log.records[log.visible])
    return sum(1 for record in log.records[log.visible + 1 : named + 1] if isinstance(record, kind))


def healthy(kind: corpus.Kind, seeds: int) -> tuple[int, collections.Counter[str]]:
    """(runs that were warned of at the end, rule → how often)."""
    warned, rules = 0, collections.Counter[str]()
    for seed in range(seeds):
        found = judged(corpus.make(kind, seed)).final
        warned += bool(found)
        rules.update(alert.rule for alert in found)
    return warned, rules


def cost(points: int) -> float:
    """Microseconds of processor time per record of an ordinary run of so many records, best of three."""
    log = corpus.make(corpus.named("long_and_slow"), 1)
    records = (log.records * (1 + points // len(log.records)))[:points]
    best = float("inf")
    for _ in range(3):
        judge = Judge(log.plan)
        begun = time.process_time()
        for record in records:
            judge.see(record)
        best = min(best, (time.process_time() - begun) / points)
    return 1e6 * best


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    warned = 0
    for kind in corpus.HEALTHY:
        count, rules = healthy(kind, seeds)
        warned += count
        print(f"{kind.__name__:36s} warned {count}/{seeds} {dict(rules) if rules else ''}")
    for kind in corpus.FAULTY:
        logs = [corpus.make(kind, seed) for seed in range(seeds)]
        named = [(log, judged(log).named) for log in logs]
        late = [delay(log, at) for log, at in named if at is not None]
        middle = statistics.median(late) if late else -1
        print(f"{kind.__name__:36s} found {len(late)}/{seeds} delay {middle:g} (most {max(late, default=-1)})")
    total = seeds * len(corpus.HEALTHY)
    print(f"healthy runs warned: {warned} of {total} = {50 * warned / total:.2f} of 50")
    for points in (2_000, 20_000, 100_000):
        print(f"{points:7,d} records: {cost(points):.1f} µs a record")
    return 0 if 50 * warned <= total else 1


if __name__ == "__main__":
    sys.exit(main())
