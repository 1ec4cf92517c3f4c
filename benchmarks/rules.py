"""Measures the early warnings on the made corpus: healthy runs warned, recall per class, delay in logged points.

usage: python benchmarks/rules.py [SEEDS]     (default 20 seeds of each kind)
"""

from __future__ import annotations

import collections
import statistics
import sys
from collections.abc import Callable

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
"""Class of fault → rules that name it."""


def judged(log: corpus.Log) -> tuple[list[Alert], int | None]:
    """All episodes of warning or worse, and the place of the record at which the fault was first named."""
    judge, named = Judge(log.plan), None
    wanted = CLASSES.get(log.fault, set())
    for place, record in enumerate(log.records):
        for alert in judge.see(record):
            if named is None and alert.rule in wanted and alert.severity != "info" and place >= log.visible:
                named = place
        if place == log.visible and named is None and any(alert.rule in wanted for alert in judge.open_alerts()):
            named = place
    judge.finish()
    found = [alert for alert in judge.alerts() if alert.severity != "info"]
    if named is None and any(alert.rule in wanted for alert in found):
        named = len(log.records)
    return found, named


def delay(log: corpus.Log, named: int) -> int:
    """Logged points of the judged kind between the visible fault and its alert."""
    kind = type(log.records[log.visible])
    return sum(1 for record in log.records[log.visible + 1 : named + 1] if isinstance(record, kind))


def healthy(kind: Callable[[corpus.Rng], corpus.Log], seeds: int) -> tuple[int, collections.Counter[str]]:
    warned, rules = 0, collections.Counter[str]()
    for seed in range(seeds):
        found, _ = judged(corpus.make(kind, seed))
        warned += bool(found)
        rules.update(alert.rule for alert in found)
    return warned, rules


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    warned = 0
    for kind in corpus.HEALTHY:
        count, rules = healthy(kind, seeds)
        warned += count
        print(f"{kind.__name__:36s} warned {count}/{seeds} {dict(rules) if rules else ''}")
    total = seeds * len(corpus.HEALTHY)
    hits, delays = collections.Counter[str](), collections.defaultdict[str, list[int]](list)
    runs = collections.Counter[str]()
    for kind in corpus.FAULTY:
        found, late, others = 0, [], collections.Counter[str]()
        for seed in range(seeds):
            log = corpus.make(kind, seed)
            alerts, named = judged(log)
            others.update({alert.rule for alert in alerts} - CLASSES[log.fault])
            runs[log.fault] += 1
            if named is not None:
                found += 1
                late.append(delay(log, named))
        hits[log.fault] += found
        delays[log.fault] += late
        middle = statistics.median(late) if late else -1
        print(
            f"{kind.__name__:36s} found {found}/{seeds} delay {middle:g} (most {max(late, default=-1)}) "
            f"{dict(others) if others else ''}"
        )
    for name in CLASSES:
        print(
            f"{name:12s} recall {hits[name] / runs[name]:.3f}, median delay "
            f"{statistics.median(delays[name] or [-1]):g} points"
        )
    print(f"healthy runs warned: {warned} of {total} = {50 * warned / total:.2f} of 50")
    return 0 if 50 * warned <= total and all(hits[name] >= 0.95 * runs[name] for name in CLASSES) else 1


if __name__ == "__main__":
    sys.exit(main())
