"""`non_finite`: NaN or Inf in any series — train loss, gradient norm, validation loss and metrics — with benign ones
told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..contract import Eval, Train
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher

RECENT = 50
"""Records over which the share of non-finite gradient norms is taken."""

MEANING = (
    "The computation left the range of its numbers: a learning rate that is too high, an overflow "
    "in half precision, a division "
    "by zero or a logarithm of zero in the loss, or a non-finite value in the data."
)
ADVICE = (
    "Stop and go back to the last checkpoint before the first step named here; look at the batch of "
    "that step; then lower the "
    "learning rate or lengthen the warm-up, clip the gradients, and use bf16 or fp32 instead of fp16."
)


@dataclass
class TrainLoss(Watcher):
    """A step whose loss was not finite. Every step counts, also those inside a log window."""

    known: Known
    steps: int = 0
    """Bad steps of the newest episode."""
    first: int = 0
    good: int = 0
    """Good records since."""

    def train(self, record: Train) -> Sight | None:
        bad = record.nonfinite if record.nonfinite_what == "loss" else int(not math.isfinite(record.loss))
        if not bad:
            self.good += 1
            return None
        step = record.nonfinite_step if record.nonfinite_step is not None else record.step
        if self.steps == 0 or self.good >= self.calm:
            self.steps, self.first = 0, step
        self.steps, self.good = self.steps + bad, 0
        message = f"train loss was not finite at step {self.first}"
        if self.steps > 1:
            message += f" and in {self.steps - 1} more steps up to {record.step}"
        seen = {"nonfinite_steps": float(self.steps), "step": float(self.first)}
        return Sight(self.first, record.step, float(self.steps), "critical", message, seen, record.worst_samples)


@dataclass
class GradNorm(Watcher):
    """A non-finite gradient norm. Isolated ones that the loss scaler skips are how fp16 works; many are not."""

    series: ClassVar[str] = "train/grad_norm"
    known: Known
    records: int = 0
    """Records with a gradient norm."""
    share: float = 0.0
    """Share of bad ones among the newest RECENT or so (exponential)."""
    in_a_row: int = 0

    def train(self, record: Train) -> Sight | None:
        norm = record.grad_norm
        if norm is None and record.nonfinite_what != "grad_norm":
            return None
        self.records += 1
        if record.nonfinite == 0 and norm is not None and math.isfinite(norm):
            self.share -= self.share / RECENT
            self.in_a_row = 0
            return None
        bad = record.nonfinite if record.nonfinite_what == "grad_norm" else int(not _finite(record))
        self.share += (float(bad > 0) - self.share) / RECENT
        if not bad:
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        applied = bad - record.skipped if record.nonfinite_what else 0
        many = too_many(self.in_a_row, self.share, self.records, self.known.settings)
        severity: Severity = "critical" if applied > 0 else "warning" if many else "info"
        first = record.nonfinite_step if record.nonfinite_step is not None else record.step
        kept = (
            "; the update was made all the same"
            if applied > 0
            else "; the update was skipped"
            if record.skipped
            else ""
        )
        message = (
            f"gradient norm was not finite at step {first} ({bad} of the {max(record.steps, bad)} steps up "
            f"to {record.step}){kept}"
        )
        seen = {"in_a_row": float(self.in_a_row), "share_of_recent": self.share}
        return Sight(first, record.step, float(self.in_a_row), severity, message, seen, record.worst_samples)

    def missing(self) -> str:
        return "" if self.records else "no gradient norms"


@dataclass
class EvalLoss(Watcher):
    """A non-finite validation loss. An infinity in the first evaluations may still pass; a NaN, or one that stays,
    does not."""

    series: ClassVar[str] = "eval/loss"
    judges: ClassVar[str] = "eval"
    takes: ClassVar[tuple[str, ...]] = ("eval",)
    calm: ClassVar[int] = 2
    known: Known
    count: int = 0
    in_a_row: int = 0
    loss_in_a_row: int = 0
    last: int = 0

    def evaluation(self, record: Eval) -> Sight | None:
        self.count += 1
        wrong = [name for name, value in (("loss", record.loss), *record.metrics.items()) if not math.isfinite(value)]
        if not wrong:
            self.in_a_row = self.loss_in_a_row = 0
            return None
        self.in_a_row, self.last = self.in_a_row + 1, record.step
        self.loss_in_a_row = self.loss_in_a_row + 1 if "loss" in wrong else 0
        early = record.step <= (self.known.plan.warmup_steps or 0) or self.count == 1
        severity: Severity = "warning"
        if "loss" not in wrong or (math.isinf(record.loss) and early and self.in_a_row == 1):
            severity = "info"
        elif self.in_a_row >= 3:
            severity = "critical"
        names = ", ".join(f"eval/{name}" for name in wrong)
        message = f"{names} was not finite at step {record.step} ({self.in_a_row} validations in a row)"
        return Sight(
            record.step, record.step, float(self.in_a_row), severity, message, {"in_a_row": float(self.in_a_row)}
        )

    def finish(self) -> Sight | None:
        if not self.loss_in_a_row:
            return None
        message = f"eval/loss was still not finite at the last validation, step {self.last}"
        return Sight(self.last, self.last, float(self.in_a_row), "warning", message, {"in_a_row": float(self.in_a_row)})

    def missing(self) -> str:
        return "" if self.count else "no validation"


def too_many(in_a_row: int, share: float, records: int, settings: dict[str, float]) -> bool:
    """Whether non-finite gradient norms are more than a loss scaler at work. It searches its scale in the first
    records."""
    if records <= 2 * settings["in_a_row"]:
        return in_a_row >= 2 * settings["in_a_row"]
    return in_a_row >= settings["in_a_row"] or (records >= RECENT and share > settings["share"])


def _finite(record: Train) -> bool:
    highest = record.grad_norm_max
    return math.isfinite(record.grad_norm or 0.0) and (highest is None or math.isfinite(highest))


RULES = (
    Rule(
        name="non_finite",
        severity="critical",
        meaning=MEANING,
        advice=ADVICE,
        watch=lambda known: [TrainLoss(known), GradNorm(known), EvalLoss(known)],
        settings={
            "in_a_row": Setting(
                5, "records in a row with a non-finite gradient norm that are more than a scaler finding its scale"
            ),
            "share": Setting(0.1, "share of the last 50 records with a non-finite gradient norm that is too many"),
        },
    ),
)
