"""Small courses of training, as records, and what a fresh judge says about them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

from corpus import evaluation, train

from stationmaster_trainer.contract import Alert, Record, RulePlan
from stationmaster_trainer.judge import Judge

__all__ = ["evaluation", "falling", "judge_of", "named", "rules_of", "train"]


def falling(
    points: int,
    noise: float = 0.03,
    start: float = 2.0,
    end: float = 0.5,
    rate: Callable[[int], float] = lambda at: 1e-3,
) -> list[Record]:
    """An ordinary run: an exponential fall with multiplicative noise, one record a step, gradient norms around 1."""
    rng = random.Random(7)
    return [
        train(
            step=at + 1,
            loss=(end + (start - end) * math.exp(-4.0 * at / points)) * math.exp(rng.gauss(0.0, noise)),
            norm=math.exp(rng.gauss(0.0, 0.2)),
            rate=rate(at),
        )
        for at in range(points)
    ]


def judge_of(records: Iterable[Record], plan: RulePlan | None = None) -> Judge:
    """A judge that has seen the records and found no rule broken."""
    judge = Judge(plan)
    for record in records:
        judge.see(record)
    broken = [reason for reason in judge.not_checked().values() if "failed" in reason]
    assert not broken, broken
    return judge


def named(judge: Judge, rule: str) -> list[Alert]:
    """All episodes of one rule."""
    return [alert for alert in judge.alerts() if alert.rule == rule]


def rules_of(judge: Judge) -> set[str]:
    """Rules that warned, or worse."""
    return {alert.rule for alert in judge.alerts() if alert.severity != "info"}
