"""What a run amounts to: one of seven verdicts with its evidence, the checklist's recommendation and ready changes of
the plan.

`verdict` is a pure function of the `Account` and the alerts. Not covered: what no curve shows (a leak between
training and validation, labels that are wrong in both).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .account import Account, account
from .contract import Alert, RulePlan
from .rules._course import Course
from .rules._window import median

__all__ = ["Account", "Change", "Verdict", "account", "verdict"]

Name = Literal["converged", "overfitting", "underfitting", "unstable", "diverged", "not_learning", "too_short_to_say"]

CONVERGED = "Ready for final testing on held-out test set"
OVERFITTING = "Consider early stopping at step {step}, more data, or regularization"
UNDERFITTING = "Consider longer training, higher LR, or larger model"
UNSTABLE = "Review gradient norms, consider lower LR or more warmup"
NOT_LEARNING = "Check that the model can overfit one small batch before training longer"
TOO_SHORT = "Train longer before judging"

FEW_POINTS = 8
"""Train records (or, without them, validations) below which a course cannot be told from chance."""
STILL_FALLING = 0.15
"""Share of the whole improvement that the last fifth must bring for "still falling": a settled run brings a few
hundredths."""
GAP = 0.25
"""Share of the whole improvement by which validation may lie above train for a falling loss to mean "trained too
short" and not "learns its rows by heart"."""


@dataclass(frozen=True)
class Change:
    """A change of the plan that `propose_config` accepts."""

    values: dict[str, Any]
    """Key of TrainingConfig → new value."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run that is over, or on its records so far."""

    name: Name
    evidence: tuple[str, ...]
    """What was measured, in numbers, the weightiest first."""
    recommendation: str
    """The checklist's sentence for the four verdicts that it names."""
    changes: tuple[Change, ...] = ()
    """At most three, each tied to a measured fact."""
    best_step: int | None = None
    best_value: float | None = None
    best_metric: str = "eval/loss"
    """`eval/loss`, or `train/loss` when there was no validation."""
    near_best: tuple[int, ...] = ()
    """Steps of the validations that differ from the best by less than the validations' own noise, at most 20, the
    best included."""


def verdict(
    found: Account, alerts: Sequence[Alert], plan: RulePlan | None = None, outcome: str = "completed"
) -> Verdict:
    """The verdict from the account and all episodes of the judge; `outcome` is the run's cause (a key of
    `states.CAUSES`).

    The first that applies: diverged, not_learning, too_short_to_say, unstable, overfitting, underfitting, converged.
    """
    plan = plan or RulePlan()
    for decide in (_diverged, _not_learning, _too_short, _unstable, _overfitting, _underfitting):
        decision = decide(found, alerts, plan)
        if decision is not None:
            return _complete(found, decision, outcome)
    passed = [f"passed: {alert.message}" for alert in _of(alerts, "loss_spike", "grad_norm_spike", "non_finite")[:3]]
    return _complete(found, Verdict("converged", (*_course(found), *passed), CONVERGED), outcome)


def _complete(found: Account, decision: Verdict, outcome: str) -> Verdict:
    evidence = list(decision.evidence)
    if outcome not in ("completed", "script_ended", ""):
        evidence.append(f"the run ended at step {found.last_step} ({outcome.replace('_', ' ')})")
    best, metric = (found.best, "eval/loss") if found.best else (found.best_train, "train/loss")
    return Verdict(
        decision.name,
        tuple(evidence),
        decision.recommendation,
        decision.changes[:3],
        best[0] if best else None,
        best[1] if best else None,
        metric,
        found.near_best(),
    )


def _of(alerts: Sequence[Alert], *rules: str, still: bool = False) -> list[Alert]:
    """Alerts of these rules, warning or worse; `still`: only those open at the end."""
    return [alert for alert in alerts if alert.rule in rules and alert.severity != "info" and (alert.open or not still)]


def _diverged(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    lost = _of(alerts, "divergence", still=True)
    nan = [alert for alert in _of(alerts, "non_finite", still=True) if alert.severity == "critical"]
    if not (lost or nan or found.broken):
        return None
    evidence = [alert.message for alert in [*nan, *lost]] or [f"train loss was not finite at step {found.last_step}"]
    return Verdict("diverged", tuple(evidence), UNSTABLE, _calmer(plan, evidence[0]))


def _not_learning(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    flat = _of(alerts, "no_learning", still=True)
    if not flat:
        return None
    changes = []
    if plan.peak_learning_rate:
        rate = _round(10.0 * plan.peak_learning_rate)
        changes.append(
            Change(
                {"learning_rate": rate},
                "the loss did not fall beyond its noise; ten times the rate tells a low rate from a fault",
            )
        )
    return Verdict("not_learning", tuple(alert.message for alert in flat), NOT_LEARNING, tuple(changes))


def _too_short(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    if _of(alerts, "overfitting", "loss_spike", "unstable") or _falls_steeply(found, plan):
        return None
    enough = found.points >= FEW_POINTS or found.evals >= FEW_POINTS
    if enough:
        return None
    evidence = f"{found.points} train records and {found.evals} validations are too few to tell a course from chance"
    return Verdict("too_short_to_say", (evidence,), TOO_SHORT)


def _unstable(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    pattern = _of(alerts, "unstable")
    spikes = _of(alerts, "loss_spike")
    grads = _of(alerts, "grad_norm_spike")
    lost = _of(alerts, "divergence")
    severe = [alert for alert in spikes if alert.severity == "critical" or alert.seen.get("ratio", 0.0) >= 4.0]
    if not (pattern or lost or severe or len(spikes) >= 2 or (spikes and spikes[-1].open)):
        return None
    evidence = [alert.message for alert in (pattern or lost or severe or spikes)[:2]]
    evidence.append(f"{len(spikes)} loss spikes and {len(grads)} gradient-norm spikes in {found.points} records")
    return Verdict("unstable", tuple(evidence), UNSTABLE, _calmer(plan, evidence[0]))


def _overfitting(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    rising = _of(alerts, "overfitting", still=True)
    if not rising or found.best is None:
        return None
    step, value = found.best
    why = f"the validation loss was best ({value:.4g}) at step {step} of {found.last_step}"
    changes = [Change({"total_steps": step}, why)] if step > 0 else []
    changes.append(Change({"early_stopping_patience": 3}, why))
    return Verdict(
        "overfitting", tuple(alert.message for alert in rising), OVERFITTING.format(step=step), tuple(changes)
    )


def _underfitting(found: Account, alerts: Sequence[Alert], plan: RulePlan) -> Verdict | None:
    if not _falls_steeply(found, plan) or _learns_by_heart(found):
        return None
    share = _last_fifth(found, plan)
    total, last = _improvement(found.train, found.start, share)
    since = "its last fifth" if share == 0.8 else f"the last fifth of the learning rate, from {share:.0%} of the steps,"
    evidence = [
        f"the train loss was still falling: {since} brought {100 * last / total:.0f} % of the whole improvement"
    ]
    if found.best is not None and found.best[0] == found.last_step:
        evidence.append(f"the newest validation is the best ({found.best[1]:.4g} at step {found.best[0]})")
    changes = []
    if plan.total_steps:
        changes.append(Change({"total_steps": 2 * plan.total_steps}, evidence[0]))
    if plan.peak_learning_rate:
        changes.append(Change({"learning_rate": _round(2.0 * plan.peak_learning_rate)}, evidence[0]))
    return Verdict("underfitting", tuple(evidence), UNDERFITTING, tuple(changes))


def _falls_steeply(found: Account, plan: RulePlan) -> bool:
    """Whether the end of the run is still on the slope: the last fifth brings a large share of what was gained,
    beyond the noise."""
    if len(found.train.blocks) < 5:
        return False
    total, last = _improvement(found.train, found.start, _last_fifth(found, plan))
    return (
        total > 0.0
        and last > STILL_FALLING * total
        and last > 2.0 * found.train.noise() / math.sqrt(len(found.train.blocks) / 5)
    )


def _learns_by_heart(found: Account) -> bool:
    """Whether validation has left the train loss behind: then the fall of the train loss is no reason to go on."""
    if not found.last_evals or not found.start:
        return False
    newest, end = found.last_evals[-1], found.train.part(0.9, 1.0)
    allowed = max(GAP * (max(found.start) - end), 2.0 * found.eval_noise())
    return newest > end + allowed or newest > (found.best or (0, newest))[1] + 2.0 * found.eval_noise()


def _last_fifth(found: Account, plan: RulePlan) -> float:
    """Share of the run at which four fifths of the schedule's learning rate are spent; 0.8 when it is not known or
    was not run to its end.

    A decayed rate flattens every curve at its end, settled or not; progress per unit of rate does not. With s the
    share of the run, the rate spent is s + sin(πs)/π under a cosine to zero (0.8 at s = 0.484) and 2s − s² under a
    line (0.553).
    """
    if (plan.min_lr_ratio or 0.0) > 0.2 or found.last_step < 0.95 * (plan.total_steps or math.inf):
        return 0.8
    return {"cosine": 0.484, "linear": 0.553}.get(plan.lr_schedule or "", 0.8)


def _improvement(course: Course, start: Sequence[float], share: float) -> tuple[float, float]:
    """(start to end, what was brought since `share` of the run), in loss."""
    before, end = course.part(share - 0.1, share), course.part(0.9, 1.0)
    return max(start[0], median(list(start))) - end, before - end


def _course(found: Account) -> list[str]:
    evidence = []
    if found.start and len(found.recent):
        evidence.append(f"train loss fell from {median(found.start):.4g} to {found.recent.median():.4g}")
    if found.best is not None:
        newest = found.last_evals[-1]
        evidence.append(
            f"validation loss {newest:.4g} at the end, best {found.best[1]:.4g} at step {found.best[0]}, "
            f"noise {found.eval_noise():.2g}"
        )
    else:
        evidence.append("there was no validation: overfitting could not be seen")
    return evidence


def _calmer(plan: RulePlan, why: str) -> tuple[Change, ...]:
    """A third of the rate, twice the warm-up, clipping where there is none."""
    changes = []
    if plan.peak_learning_rate:
        changes.append(Change({"learning_rate": _round(plan.peak_learning_rate / 3.0)}, why))
    if plan.total_steps and plan.warmup_steps is not None:
        longer = min(max(2 * plan.warmup_steps, plan.total_steps // 20), plan.total_steps // 2)
        if longer > plan.warmup_steps:
            changes.append(Change({"warmup_steps": longer}, why))
    if plan.gradient_clip is not None and not 0.0 < plan.gradient_clip <= 1.0:
        changes.append(Change({"gradient_clip": 1.0}, why))
    return tuple(changes)


def _round(value: float) -> float:
    """Two significant digits: a rate that a person would write."""
    return float(f"{value:.2g}")
