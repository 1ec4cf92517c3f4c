"""What rules did beyond alerting, and which samples an alert is about, in words for status, summary and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stationmaster_trainer.actions import Detours
from stationmaster_trainer.contract import Action, Alert, Spec, Status

from .answer import plain
from .cursor import Cursor
from .words import count, number

ROWS = 8
"""Rows that a status names; the report names all that the record has."""


def lines(actions: Sequence[Action]) -> list[str]:
    """One line for each action, oldest first."""
    return [line(action) for action in actions]


def line(action: Action) -> str:
    """What was done, to which step, over which rule, and what follows from it."""
    rule, seen = plain(action.rule, 40), plain(action.message, 150).rstrip(".")
    if action.action == "stop":
        return f"stopped by rule {rule} at step {count(action.step)}: {seen}."
    skipped = action.skipped_last - action.skipped_first + 1
    data = f"data of steps {count(action.skipped_first)}–{count(action.skipped_last)} left out, " if skipped > 0 else ""
    return (
        f"rollback {action.number} by rule {rule} (step {count(action.first_step)}): {seen}. Went back to step "
        f"{count(action.step)}, {data}learning rate × {number(action.rate_factor)} from there on."
    )


def new(status: Status, since: Cursor | None) -> list[Action]:
    """Rollbacks that began an attempt the cursor had not seen; a stop is told with the end itself."""
    return [
        one for one in status.actions if one.action == "rollback" and (since is None or one.attempt > since.attempt)
    ]


def facts(action: Action) -> dict[str, Any]:
    """The same for structured content."""
    return {
        "action": action.action,
        "rule": plain(action.rule, 40),
        "step": action.step,
        "first_step": action.first_step,
        "last_step": action.last_step,
        "rate_factor": action.rate_factor,
        "skipped": [action.skipped_first, action.skipped_last] if action.action == "rollback" else [],
    }


def plan(spec: Spec) -> str:
    """What the confirmed plan allows the rules; empty when they only alert."""
    allowed = [f"{plain(rule, 40)} {what}" for rule, what in spec.config.actions.items() if what != "alert"]
    return ", ".join(allowed)


def rows(alert: Alert, most: int = ROWS) -> str:
    """The rows of the batch that the alert is about; empty when the record does not name them."""
    if not alert.samples:
        return ""
    named = ", ".join(str(row) for row in alert.samples[:most])
    left = len(alert.samples) - most
    return f"rows of its batch: {named}{f' and {left} more' if left > 0 else ''}"


def whole_batch(alert: Alert, spec: Spec, status: Status) -> str:
    """How to find every sample of the step at which the alert began: its place in the order of its epoch."""
    facts, config = spec.facts, spec.config
    if not alert.samples or facts.steps_per_epoch < 1 or facts.about:
        return ""
    earlier = tuple(one for one in status.actions if one.action == "rollback" and one.time < alert.time)
    epoch, group = divmod(Detours.of(earlier).data_step(alert.first_step) - 1, facts.steps_per_epoch)
    size = config.batch_size * config.gradient_accumulation
    first, last = group * size, min((group + 1) * size, facts.train_samples)
    call = f"epoch_order({config.seed}, {epoch}, {facts.train_samples})[{first}:{last}]"
    return f"the whole batch of step {count(alert.first_step)}: `stationmaster_trainer.order.{call}`"
