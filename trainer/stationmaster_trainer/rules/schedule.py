"""`learning_rate_near_zero`: the rate has collapsed though steps remain. A planned end near zero is no news."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..contract import RulePlan, Train
from ..schedule import learning_rate_at
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher


@dataclass
class NearZero(Watcher):
    """Follows the rate's peak. With a plan it compares with the planned rate; without, with how long the run goes on
    after the collapse."""

    series: ClassVar[str] = "train/learning_rate"
    known: Known
    peak: float = 0.0
    records: int = 0
    since: int = 0
    """Records since the rate fell below the share of its peak."""
    first_step: int = 0
    judged: bool = False
    resolution: float = 1.0
    """Last decimal place that the log writes of a rate. A rate printed as 0.0000 is not zero, it is below 0.0001."""

    def train(self, record: Train) -> Sight | None:
        rate = record.learning_rate
        if not math.isfinite(rate):
            return None
        self.judged = True
        self.records += 1
        if rate > self.peak:
            self.peak = rate
        if self.resolution > 1e-12:
            self.resolution = min(self.resolution, last_place(rate))
        plan, peak = self.known.plan, self.peak
        if plan.peak_learning_rate is not None and plan.peak_learning_rate > peak:
            peak = plan.peak_learning_rate
        if rate >= self.known.settings["share"] * peak or warming_up(plan, record.step, rate, self.peak):
            self.since = 0
            return None
        self.since += 1
        if self.since == 1:
            self.first_step = record.step
        if plan.total_steps is not None:
            news = against_plan(plan, record.step, rate, peak)
        else:
            news = without_plan(self.since, self.records, rate, self.known.settings)
        return self.sight(record, rate, peak) if news else None

    def sight(self, record: Train, rate: float, peak: float) -> Sight:
        total = self.known.plan.total_steps
        if total is not None and record.step > total:
            rest = f"the planned {total} steps are over and training goes on"
        elif total is not None:
            rest = f"{total - record.step} of {total} planned steps remain"
        else:
            rest = f"training has gone on for {self.since} records since"
        message = (
            f"learning rate {rate:.3g} is {100 * rate / peak if peak else 0:.2g} % of its peak {peak:.3g} "
            f"since step {self.first_step}, and {rest}"
        )
        severity: Severity = "warning"
        if total is None and rate + 0.5 * self.resolution >= self.known.settings["share"] * peak:
            severity = "info"
            message += f"; the log writes rates to {self.resolution:g} only, so it may be higher"
        seen = {"learning_rate": rate, "peak": peak}
        return Sight(self.first_step, record.step, float(self.since), severity, message, seen)

    def missing(self) -> str:
        return "" if self.judged else "no learning rate"


def last_place(rate: float) -> float:
    """Value of the last written decimal place: 0.0001 for 0.0302; a number in full precision has about 17."""
    digits, _, exponent = repr(rate).partition("e")
    decimals = len(digits.partition(".")[2]) if not digits.endswith(".0") else 0
    return float(10.0 ** (int(exponent or 0) - decimals))


def warming_up(plan: RulePlan, step: int, rate: float, peak_so_far: float) -> bool:
    """Before the end of the planned warm-up, or while every rate so far was a new peak, a small rate is the plan."""
    return step <= (plan.warmup_steps or 0) or rate >= peak_so_far


def against_plan(plan: RulePlan, step: int, rate: float, peak: float) -> bool:
    """News when steps run beyond the plan's end, or when the rate is far below what the plan wants at this step."""
    total = plan.total_steps or 0
    if step > total:
        return True
    if plan.lr_schedule not in ("cosine", "linear", "constant"):
        return step < 0.9 * total
    wanted = learning_rate_at(
        max(step, 1),
        peak=peak,
        warmup_steps=plan.warmup_steps or 0,
        total_steps=total,
        shape=plan.lr_schedule,
        min_ratio=plan.min_lr_ratio or 0.0,
    )
    return rate < 0.1 * wanted


def without_plan(since: int, records: int, rate: float, settings: dict[str, float]) -> bool:
    """News when the run goes on long after the collapse: no usual schedule spends that share of its steps there."""
    if rate == 0.0:
        return since >= max(10.0, 0.1 * (records - since))
    return since >= max(20.0, settings["rest"] * (records - since))


RULES = (
    Rule(
        name="learning_rate_near_zero",
        severity="warning",
        meaning=(
            "The schedule is exhausted (or is stepped too often): the remaining steps change the model hardly at all."
        ),
        advice=(
            "End the run here, or plan the schedule for the steps that are really trained; check that the "
            "scheduler is stepped once per optimizer step."
        ),
        watch=lambda known: [NearZero(known)],
        settings={
            "share": Setting(0.01, "share of the peak rate that counts as near zero"),
            "rest": Setting(
                0.5,
                "records after the collapse, as a share of those before it, that are too many when no plan is known",
            ),
        },
    ),
)
