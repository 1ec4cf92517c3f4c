"""The verdict: the right one of seven, with evidence, the checklist's sentence and changes that the plan accepts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace

import corpus
import pytest
from courses import evaluation, falling, train

from stationmaster_trainer.contract import Record, RulePlan, TrainingConfig
from stationmaster_trainer.judge import Judge
from stationmaster_trainer.verdict import Account, Verdict, account, verdict

PLAN = RulePlan(total_steps=1000, warmup_steps=50, peak_learning_rate=1e-3, gradient_clip=0.0)


def verdict_of(records: Iterable[Record], plan: RulePlan = PLAN, outcome: str = "completed") -> Verdict:
    judge, found = Judge(plan), Account()
    for record in records:
        judge.see(record)
        found.see(record)
    judge.finish()
    return verdict(found, judge.alerts(), plan, outcome)


def with_validation(records: list[Record], values: Iterable[float]) -> list[Record]:
    """The values as validations, evenly among the records."""
    values = list(values)
    between = len(records) // len(values)
    found: list[Record] = []
    for place, record in enumerate(records, 1):
        found.append(record)
        if place % between == 0 and values:
            found.append(evaluation(record.step, values.pop(0)))  # type: ignore[union-attr]
    return found


def test_a_run_that_settled_is_ready_for_the_test_set() -> None:
    found = verdict_of(with_validation(falling(400, start=4.0), [1.0, 0.8, 0.7, 0.66, 0.65, 0.651, 0.65, 0.649]))
    assert (found.name, found.recommendation) == ("converged", "Ready for final testing on held-out test set")
    assert (found.best_step, found.best_value, found.best_metric) == (400, 0.649, "eval/loss")
    assert found.changes == () and any("0.649" in line for line in found.evidence)


def test_overfitting_names_the_step_to_stop_at() -> None:
    values = [1.0, 0.8, 0.7, 0.72, 0.76, 0.81, 0.87, 0.93, 1.0, 1.08]
    found = verdict_of(with_validation(falling(500), values))
    assert found.name == "overfitting" and found.best_step == 150
    assert found.recommendation == "Consider early stopping at step 150, more data, or regularization"
    assert {"total_steps": 150} in [change.values for change in found.changes]


def test_a_run_cut_off_on_its_slope_is_underfitting() -> None:
    found = verdict_of([*falling(400)[:60]])
    assert (found.name, found.recommendation) == (
        "underfitting",
        "Consider longer training, higher LR, or larger model",
    )
    assert {"total_steps": 2000} in [change.values for change in found.changes]


def test_repeated_spikes_are_unstable() -> None:
    records = falling(600)
    for place in range(100, 600, 60):
        records[place] = corpus.scaled(records[place], loss=5.0)
    found = verdict_of(records)
    assert (found.name, found.recommendation) == ("unstable", "Review gradient norms, consider lower LR or more warmup")
    assert [change.values for change in found.changes] == [
        {"learning_rate": 0.00033},
        {"warmup_steps": 100},
        {"gradient_clip": 1.0},
    ]


def test_a_loss_that_is_nan_at_the_end_has_diverged() -> None:
    records = falling(200)
    broken = [replace(record, loss=math.nan, loss_max=math.nan) for record in records[150:]]  # type: ignore[call-arg]
    found = verdict_of([*records[:150], *broken])
    assert found.name == "diverged" and "not finite at step 151" in found.evidence[0]


def test_a_loss_that_left_and_stayed_away_has_diverged() -> None:
    records = falling(300)
    found = verdict_of([*records[:200], *(corpus.scaled(record, loss=8.0) for record in records[200:])])
    assert found.name == "diverged"


def test_a_flat_loss_is_not_learning() -> None:
    found = verdict_of(falling(400, start=2.3, end=2.3))
    assert found.name == "not_learning" and found.changes[0].values == {"learning_rate": 0.01}


def test_five_records_are_too_short_to_say() -> None:
    found = verdict_of(falling(5, noise=0.001, end=1.9))
    assert found.name == "too_short_to_say" and "5 train records" in found.evidence[0]


def test_nothing_at_all_is_too_short_to_say() -> None:
    found = verdict_of([])
    assert (found.name, found.best_step) == ("too_short_to_say", None)


def test_a_single_spike_that_recovered_does_not_make_a_run_unstable() -> None:
    records = falling(400)
    records[200] = corpus.scaled(records[200], loss=2.6)
    found = verdict_of(records)
    assert found.name == "converged" and any("times the running median" in line for line in found.evidence)


def test_without_validation_the_best_is_the_lowest_train_loss() -> None:
    found = verdict_of(falling(400))
    assert found.best_metric == "train/loss" and found.best_step is not None and found.near_best == ()


def test_validations_within_the_noise_of_the_best_are_named() -> None:
    values = [1.0, 0.8, 0.70, 0.66, 0.68, 0.65, 0.67, 0.66, 0.68, 0.655]
    found = verdict_of(with_validation(falling(500), values))
    assert found.best_step == 300 and {300, 500} <= set(found.near_best) and 50 not in found.near_best


def test_the_outcome_of_a_stopped_run_is_part_of_the_evidence() -> None:
    found = verdict_of(falling(400), outcome="user")
    assert "the run ended at step 400 (user)" in found.evidence


@pytest.mark.parametrize(
    "kind",
    [corpus.courses.overfitting_classic, corpus.events.spikes_again_and_again, corpus.courses.stuck_at_chance],
    ids=lambda kind: kind.__name__,
)
def test_changes_are_keys_of_the_configuration_and_at_most_three(kind) -> None:  # type: ignore[no-untyped-def]
    log = corpus.make(kind, 5)
    found = verdict_of(log.records, PLAN)
    keys = {field.name for field in fields(TrainingConfig)}
    assert 0 < len(found.changes) <= 3
    assert all(change.values.keys() <= keys and change.reason for change in found.changes)


def test_the_account_does_not_grow_with_the_run() -> None:
    found = account(with_validation(falling(20_000), [1.0 / (at + 1) for at in range(2_000)]))
    assert len(found.train.blocks) < 64 and len(found.validation.blocks) < 64
    assert len(found.contenders) <= 20 and found.points == 20_000 and found.evals == 2_000


def annealed(rate: float, steps: int = 200) -> list[Record]:
    """A loss that falls by `rate` per unit of learning rate, under a cosine to zero: its end is flat in any case."""
    spent = [share + math.sin(math.pi * share) / math.pi for share in (step / steps for step in range(1, steps + 1))]
    return [train(step, 0.2 + 2.0 * math.exp(-rate * spent[step - 1])) for step in range(1, steps + 1)]


SHORT = replace(PLAN, total_steps=200, warmup_steps=0, lr_schedule="cosine")


def test_a_cosine_that_ended_before_the_model_settled_is_underfitting_though_its_end_is_flat() -> None:
    found = verdict_of(with_validation(annealed(0.5), [1.9, 1.7, 1.5, 1.45]), SHORT)
    assert (found.name, found.recommendation) == (
        "underfitting",
        "Consider longer training, higher LR, or larger model",
    )
    assert {"total_steps": 400} in [change.values for change in found.changes]


def test_a_cosine_over_a_model_that_settled_is_ready_for_the_test_set() -> None:
    assert verdict_of(with_validation(annealed(8.0), [0.5, 0.3, 0.25, 0.24]), SHORT).name == "converged"


def test_a_train_loss_that_falls_away_from_validation_does_not_ask_for_longer_training() -> None:
    found = verdict_of(with_validation(annealed(0.5), [1.99, 1.97, 1.96, 1.96]), SHORT)
    assert found.name != "underfitting"


def test_a_waived_validation_is_said_in_the_evidence() -> None:
    found = verdict_of(falling(400, start=4.0))
    assert "there was no validation: overfitting could not be seen" in found.evidence
