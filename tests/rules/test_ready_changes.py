"""Every change that a verdict can give is accepted by a real `propose_config`, as it is."""

from __future__ import annotations

from typing import Any

import corpus
import pytest
from courses import falling, train

from stationmaster_trainer.contract import RulePlan
from stationmaster_trainer.judge import Judge
from stationmaster_trainer.verdict import Change, account, verdict


@pytest.fixture(scope="module")
def plan(desk: Any) -> RulePlan:
    """What the rules may know of the plan that the desk proposes; without clipping, so that it is recommended too."""
    shown = desk.confirmed(gradient_clip=0.0).facts["config"]
    return RulePlan(
        total_steps=shown["total_steps"],
        warmup_steps=shown["warmup_steps"],
        lr_schedule=shown["lr_schedule"],
        peak_learning_rate=shown["learning_rate"],
        min_lr_ratio=shown["min_lr_ratio"],
        gradient_clip=shown["gradient_clip"],
    )


def steep(points: int = 60) -> list[Any]:
    return [train(step, 2.0 - step / points) for step in range(1, points + 1)]


COURSES = {
    "overfitting": lambda: corpus.make(corpus.named("overfitting_classic"), 5).records,
    "unstable": lambda: corpus.make(corpus.named("spikes_again_and_again"), 5).records,
    "diverged": lambda: corpus.make(corpus.named("nan_from_a_step_on"), 5).records,
    "not_learning": lambda: corpus.make(corpus.named("stuck_at_chance"), 5).records,
    "underfitting": steep,
    "converged": lambda: falling(400, start=4.0),
    "too_short_to_say": lambda: falling(5, noise=0.001, end=1.9),
}
CHANGING = ("overfitting", "unstable", "diverged", "not_learning", "underfitting")


def changes_of(name: str, plan: RulePlan) -> tuple[Change, ...]:
    judge, records = Judge(plan), COURSES[name]()
    for record in records:
        judge.see(record)
    judge.finish()
    found = verdict(account(records), judge.alerts(), plan)
    assert found.name == name and len(found.changes) <= 3
    assert all(change.reason for change in found.changes)
    return found.changes


@pytest.mark.parametrize("name", COURSES)
def test_each_change_of_the_verdict_is_taken_by_propose_config(desk: Any, plan: RulePlan, name: str) -> None:
    changes = changes_of(name, plan)
    assert bool(changes) == (name in CHANGING)
    for change in changes:
        reply = desk.accepted("propose_config", changes=change.values)
        shown = reply.facts["config"]
        assert {key: shown[key] for key in change.values} == change.values
        desk.accepted("propose_config", changes=dict.fromkeys(change.values))


@pytest.mark.parametrize("name", CHANGING)
def test_all_changes_of_a_verdict_are_taken_together(desk: Any, plan: RulePlan, name: str) -> None:
    together = {key: value for change in changes_of(name, plan) for key, value in change.values.items()}
    reply = desk.accepted("propose_config", changes=together)
    assert reply.facts["digest"]
    desk.accepted("propose_config", changes=dict.fromkeys(together))
