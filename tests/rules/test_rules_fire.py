"""Each rule fires on its fault, in time and with its numbers, and is silent on the fault's healthy cousins."""

from __future__ import annotations

import math
from dataclasses import replace

import corpus
import pytest
import rules as scorecard
from courses import evaluation, falling, judge_of, named, rules_of, train

from stationmaster_trainer.contract import Note, Record, RulePlan

SEEDS = range(100, 103)
"""Not those that the thresholds were looked at with."""
HARD = {
    "heavy_tails_near_zero",
    "mixture_of_tasks",
    "heavy_tailed_batches",
    "negative_loss",
    "noisy_small_batches",
    "reward_to_maximise",
    "discriminator",
}
"""Healthy kinds in which, now and then, one point looks like a spike to anyone; they count in the whole figure only."""


@pytest.mark.parametrize("kind", corpus.FAULTY, ids=lambda kind: kind.__name__)
def test_the_fault_is_found(kind) -> None:  # type: ignore[no-untyped-def]
    for seed in SEEDS:
        log = corpus.make(kind, seed)
        at = scorecard.judged(log).named
        assert at is not None, f"seed {seed}"


@pytest.mark.parametrize("kind", [k for k in corpus.HEALTHY if k.__name__ not in HARD], ids=lambda kind: kind.__name__)
def test_a_healthy_run_is_not_warned(kind) -> None:  # type: ignore[no-untyped-def]
    for seed in SEEDS:
        alerts = scorecard.judged(corpus.make(kind, seed)).final
        assert alerts == [], f"seed {seed}"


def test_over_all_healthy_kinds_at_most_one_run_in_fifty_is_warned() -> None:
    warned = sum(scorecard.healthy(kind, 12)[0] for kind in corpus.HEALTHY)
    assert 50 * warned <= 12 * len(corpus.HEALTHY)


def test_the_spike_names_the_true_step_and_rows_inside_the_window() -> None:
    records = [replace(record, step=10 * record.step, steps=10) for record in falling(100)]  # type: ignore[union-attr,call-arg]
    spiked = replace(records[60], loss_max=9.0, loss_max_step=604, worst_samples=(17, 3))  # type: ignore[call-arg]
    (alert,) = judge_of([*records[:60], spiked, *records[61:]]).alerts()
    assert (alert.rule, alert.first_step, alert.last_step, alert.samples) == ("loss_spike", 604, 610, (17, 3))
    assert "9" in alert.message and alert.seen["ratio"] > 8 and alert.series == "train/loss"


def test_the_first_steps_of_a_run_may_fall_fast() -> None:
    assert judge_of(falling(300, start=50.0, end=0.1)).alerts() == []


def test_a_spike_within_the_first_ten_records_is_seen_when_it_is_huge() -> None:
    records = falling(50)
    records[4] = corpus.scaled(records[4], loss=1e6)
    assert rules_of(judge_of(records)) == {"loss_spike"}


def test_one_step_of_nan_inside_a_window_is_critical_and_names_the_step() -> None:
    records = falling(100)
    more = {"nonfinite": 1, "nonfinite_step": 55, "nonfinite_what": "loss", "worst_samples": (4, 5)}
    records[55] = replace(records[55], **more)  # type: ignore[call-arg]
    (alert,) = judge_of(records).alerts()
    assert (alert.rule, alert.severity, alert.first_step, alert.samples) == ("non_finite", "critical", 55, (4, 5))


def test_a_non_finite_value_never_enters_a_history() -> None:
    records = falling(200)
    for place in range(50, 60):
        records[place] = replace(records[place], loss=math.inf, loss_max=math.inf, grad_norm=math.inf)  # type: ignore[call-arg]
    records[120] = corpus.scaled(records[120], loss=5.0)
    assert rules_of(judge_of(records)) == {"non_finite", "loss_spike"}


def test_a_gradient_that_the_scaler_skipped_is_only_told() -> None:
    records = falling(100)
    more = {"nonfinite": 1, "nonfinite_step": 61, "nonfinite_what": "grad_norm", "skipped": 1, "grad_norm": math.inf}
    records[60] = replace(records[60], **more)  # type: ignore[call-arg]
    (alert,) = judge_of(records).alerts()
    assert (alert.rule, alert.severity) == ("non_finite", "info")
    records[60] = replace(records[60], skipped=0)  # type: ignore[call-arg]
    assert [alert.severity for alert in judge_of(records).alerts()] == ["critical"]


def test_an_infinite_first_validation_is_told_and_warned_of_when_it_stays() -> None:
    first = evaluation(10, math.inf)
    recovered = judge_of([first, evaluation(20, 2.0), evaluation(30, 1.9)])
    assert [alert.severity for alert in recovered.alerts()] == ["info"]
    stayed = judge_of([first, evaluation(20, math.inf)])
    assert [alert.severity for alert in stayed.alerts()] == ["warning"]


def test_a_nan_in_the_validation_alone_is_found() -> None:
    judge = judge_of([*falling(100), evaluation(100, math.nan)])
    assert [(alert.rule, alert.series) for alert in judge.alerts()] == [("non_finite", "eval/loss")]


def test_overfitting_names_the_step_of_the_best_validation() -> None:
    records = []
    for number in range(20):
        records += falling(20 * (number + 1))[-20:]
        best = abs(number - 6)
        records.append(evaluation(20 * (number + 1), 0.8 + 0.03 * best))
    for place, record in enumerate(records):
        if not hasattr(record, "metrics"):
            records[place] = corpus.scaled(record, loss=0.99**place)
    (alert,) = judge_of(records).alerts()
    assert (alert.rule, alert.seen["best_step"]) == ("overfitting", 140.0)


def test_a_rising_validation_is_no_overfitting_while_the_train_loss_rises_too() -> None:
    records = []
    for number in range(20):
        records += [train(20 * number + step + 1, 0.5 + 0.01 * number) for step in range(20)]
        records.append(evaluation(20 * (number + 1), 0.8 + 0.02 * number))
    assert named(judge_of(records), "overfitting") == []


def test_a_rise_within_the_known_standard_error_is_no_overfitting() -> None:
    records = []
    for number in range(20):
        records += [train(20 * number + step + 1, 1.0 * 0.9**number) for step in range(20)]
        records.append(evaluation(20 * (number + 1), 0.8 + 0.002 * abs(number - 5), sem=0.05))
    assert named(judge_of(records), "overfitting") == []


def test_the_end_of_a_planned_schedule_is_no_news_but_going_on_behind_it_is() -> None:
    plan = RulePlan(total_steps=300, warmup_steps=30, lr_schedule="linear", peak_learning_rate=1e-3)

    def rate(at: int) -> float:
        return 1e-3 * ((at + 1) / 30 if at < 30 else max(0.0, (300 - at) / 270))

    assert judge_of(falling(300, rate=rate), plan).alerts() == []
    (alert,) = judge_of(falling(330, rate=rate), plan).alerts()
    assert (alert.rule, alert.severity) == (
        "learning_rate_near_zero",
        "warning",
    ) and "planned 300 steps" in alert.message


def test_the_start_of_a_warm_up_is_no_news() -> None:
    judge = judge_of(falling(200, rate=lambda at: 1e-7 + 1e-3 * min(1.0, at / 100)))
    assert judge.alerts() == []


def test_a_loss_at_the_logarithm_of_the_classes_is_called_chance() -> None:
    records = falling(120, noise=0.002, start=math.log(7), end=math.log(7))
    (alert,) = judge_of(records, RulePlan(classes=7)).alerts()
    assert alert.rule == "no_learning" and "ln(7)" in alert.message


def test_a_late_take_off_turns_no_learning_into_an_info() -> None:
    flat = falling(100, noise=0.01, start=2.0, end=2.0)
    fall = [replace(record, step=record.step + 100) for record in falling(200, noise=0.01)]  # type: ignore[union-attr,call-arg]
    judge = judge_of([*flat, *fall])
    (alert,) = named(judge, "no_learning")
    assert (alert.open, alert.severity) == (False, "info")


def note(step: int, **facts: object) -> Note:
    return Note(0.0, 0.0, step, "what the curves do not show", facts=facts)


def test_a_first_loss_far_above_chance_is_named() -> None:
    (alert,) = judge_of([note(1, initial_loss=31.0, expected_loss=2.303)]).alerts()
    assert alert.rule == "bad_initial_loss" and "31" in alert.message
    assert judge_of([note(1, initial_loss=2.5, expected_loss=2.303)]).alerts() == []


def test_parameters_that_never_change_are_named_after_the_second_look() -> None:
    facts = {"unchanged": ["stem.weight", "stem.bias"], "unchanged_share": 0.4}
    assert judge_of([note(1, **facts)]).alerts() == []
    (alert,) = judge_of([note(1, **facts), note(50, **facts)]).alerts()
    assert (alert.rule, alert.severity, alert.first_step) == ("frozen_parameters", "warning", 1)
    assert "stem.weight" in alert.message
    assert judge_of([note(1, **facts), note(50, unchanged=[], unchanged_share=0.0)]).alerts() == []


def test_a_layer_without_a_gradient_to_speak_of_is_named_after_the_second_look() -> None:
    facts = {"grad_norm": {"layers.0": 1e-9, "layers.8": 0.5}}
    (alert,) = judge_of([note(1, **facts), note(50, **facts)]).alerts()
    assert alert.rule == "vanishing_gradient" and "layers.0" in alert.message
    even = {"grad_norm": {"layers.0": 0.1, "layers.8": 0.5}}
    assert judge_of([note(1, **even), note(50, **even)]).alerts() == []


def test_a_log_without_facts_is_not_checked_for_them() -> None:
    unchecked = judge_of(falling(100)).not_checked()
    assert {"bad_initial_loss", "frozen_parameters", "vanishing_gradient"} <= unchecked.keys()


def test_a_rise_that_all_samples_share_is_overfitting_though_their_losses_differ_widely() -> None:
    records = []
    for number in range(20):
        records += [train(20 * number + step + 1, 1.0 * 0.9**number) for step in range(20)]
        rise = max(0, number - 4)
        records.append(evaluation(20 * (number + 1), 0.43 + 0.02 * rise, sem=0.06 + 0.006 * rise))
    (alert,) = named(judge_of(records), "overfitting")
    assert alert.severity == "warning" and alert.open


@pytest.mark.parametrize(("batch", "severity"), [(8, "info"), (256, "warning")])
def test_a_jump_that_one_hard_sample_explains_is_only_told(batch: int, severity: str) -> None:
    records = [replace(record, window_samples=batch) for record in falling(200)]  # type: ignore[call-arg]
    records[150] = corpus.scaled(records[150], loss=4.0)
    (alert,) = judge_of(records, RulePlan(classes=10)).alerts()
    assert (alert.rule, alert.severity) == ("loss_spike", severity)
    assert ("one hard sample among 8" in alert.message) == (batch == 8)


def test_a_jump_of_small_batches_that_stays_is_warned_of() -> None:
    records = [replace(record, window_samples=8) for record in falling(200)]  # type: ignore[call-arg]
    for place in range(150, 156):
        records[place] = corpus.scaled(records[place], loss=4.0)
    (alert,) = named(judge_of(records, RulePlan(classes=10)), "loss_spike")
    assert alert.severity == "warning"


def test_units_that_no_sample_reaches_are_called_dead_after_the_second_look() -> None:
    looks = [
        Note(0.0, 0.0, step, "looked at", facts={"dead_units": {"layers.0": 0.75, "layers.2": 0.1}}) for step in (1, 50)
    ]
    plan = RulePlan(samples_per_step=32)
    assert named(judge_of(looks[:1], plan), "dead_units") == []
    (alert,) = named(judge_of(looks, plan), "dead_units")
    assert alert.severity == "warning" and "75 %" in alert.message and "layers.0" in alert.message
    single = judge_of(looks, RulePlan(samples_per_step=2))
    assert named(single, "dead_units") == [] and "16 samples" in single.not_checked()["dead_units"]


def test_a_rate_that_the_log_rounds_to_zero_is_only_told() -> None:
    def decayed(at: int) -> float:
        return 1e-3 * max(0.0, 1.0 - at / 150)

    exact = judge_of(falling(300, rate=decayed))
    assert named(exact, "learning_rate_near_zero")[0].severity == "warning"
    rounded = judge_of(falling(300, rate=lambda at: round(decayed(at), 4)))
    (alert,) = named(rounded, "learning_rate_near_zero")
    assert alert.severity == "info" and "0.0001" in alert.message


def test_a_flat_loss_that_is_fitted_is_no_plateau() -> None:
    def course(end: float) -> list[Record]:
        return [train(at + 1, end + 2.3 * math.exp(-at / 10)) for at in range(400)]

    assert named(judge_of(course(0.5)), "plateau")[0].severity == "info"
    assert named(judge_of(course(0.005)), "plateau") == []


def test_a_moderate_rise_that_comes_back_by_itself_is_taken_back_and_a_large_one_is_not() -> None:
    def bump(height: float) -> list[Record]:
        return [train(at + 1, 1.0 * (height if 200 <= at < 260 else 1.0) + 0.01 * (at % 3)) for at in range(400)]

    (moderate,) = named(judge_of(bump(2.0)), "divergence")
    (large,) = named(judge_of(bump(5.0)), "divergence")
    assert (moderate.severity, moderate.open) == ("info", False)
    assert (large.severity, large.open) == ("critical", False)


def test_a_train_loss_that_only_wobbles_is_not_falling_away_from_validation() -> None:
    records: list[Record] = []
    for at in range(40):
        records += [train(10 * at + i + 1, 1.0 + 0.05 * math.sin(7.3 * (10 * at + i)) - 1e-5 * at) for i in range(10)]
        records.append(evaluation(10 * at + 10, 0.9 if at < 20 else 0.99 + 0.001 * (at % 2)))
    assert "overfitting" not in rules_of(judge_of(records))


def test_around_zero_the_first_points_are_no_spike() -> None:
    values = [0.05, 4.4, -3.0, 2.0, -6.0, 1.0] + [-20.0 + 3.0 * math.sin(1.7 * at) for at in range(100)]
    assert "loss_spike" not in rules_of(judge_of([train(at + 1, value) for at, value in enumerate(values)]))
