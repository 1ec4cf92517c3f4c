"""The engine: episodes open, worsen and clear; the state survives a restart; one broken rule leaves the others."""

from __future__ import annotations

import json
from dataclasses import replace

import corpus
import pytest
from courses import falling, judge_of, named, train

from stationmaster_trainer.contract import Finished, RulePlan, Train
from stationmaster_trainer.errors import ConfigError
from stationmaster_trainer.judge import Judge, all_rules, resolve

KINDS = (
    corpus.events.spikes_again_and_again,
    corpus.events.nan_gradients_that_stay,
    corpus.courses.overfitting_classic,
    corpus.courses.divergence_slow,
    corpus.courses.stuck_at_chance,
    corpus.rates.schedule_stepped_too_often,
    corpus.healthy.scaler_skips,
    corpus.healthy.negative_loss,
)


def test_a_spike_opens_one_alert_and_clears_it_ten_records_later() -> None:
    records = falling(200)
    records[100] = corpus.scaled(records[100], loss=6.0)
    judge = Judge()
    changes = [(place, change) for place, record in enumerate(records) for change in judge.see(record)]
    assert [(place, change.rule, change.open) for place, change in changes] == [
        (100, "loss_spike", True),
        (110, "loss_spike", False),
    ]
    assert judge.open_alerts() == []
    assert judge.total() == 1


def test_several_jumps_close_together_are_one_episode() -> None:
    records = falling(200)
    for place in (100, 103, 108):
        records[place] = corpus.scaled(records[place], loss=6.0)
    (alert,) = named(judge_of(records), "loss_spike")
    assert (alert.first_step, alert.last_step) == (101, 109)


def test_an_open_alert_is_told_again_when_it_has_grown_tenfold() -> None:
    records = falling(200)
    records[100] = corpus.scaled(records[100], loss=3.0)
    records[101] = corpus.scaled(records[101], loss=4.0)
    records[102] = corpus.scaled(records[102], loss=300.0)
    judge = Judge()
    told = [change for record in records[:103] for change in judge.see(record)]
    assert len(told) == 2 and told[0].seen["ratio"] < 5 < 200 < told[1].seen["ratio"]
    assert told[1].severity == "critical" and told[1].first_step == 101


def test_the_worst_open_alert_comes_first() -> None:
    records = falling(200)
    records[100] = corpus.scaled(records[100], loss=4.0)
    records[104] = replace(records[104], loss=float("nan"), nonfinite=1, nonfinite_step=105, nonfinite_what="loss")
    judge = judge_of(records[:106])
    assert [alert.rule for alert in judge.open_alerts()] == ["non_finite", "loss_spike"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_judge_restored_from_its_state_goes_on_as_if_nothing_had_happened(kind, share) -> None:  # type: ignore[no-untyped-def]
    log = corpus.make(kind, 3)
    cut = int(share * len(log.records))
    whole, before = Judge(log.plan), Judge(log.plan)
    for record in log.records[:cut]:
        whole.see(record), before.see(record)
    after = Judge(log.plan, json.loads(json.dumps(before.state(), allow_nan=False)))
    assert after.alerts() == whole.alerts()
    for record in log.records[cut:]:
        assert after.see(record) == whole.see(record)
    assert after.finish() == whole.finish()
    assert (after.alerts(), after.total(), after.not_checked()) == (whole.alerts(), whole.total(), whole.not_checked())


def test_the_state_does_not_grow_with_the_run() -> None:
    records = falling(20_000, noise=0.2)
    sizes = {}
    judge = Judge()
    for count, record in enumerate(records, 1):
        judge.see(record)
        if count in (2_000, 20_000):
            sizes[count] = len(json.dumps(judge.state()))
    assert sizes[20_000] < 1.2 * sizes[2_000] < 100_000


def test_a_thousand_episodes_are_counted_but_not_all_kept() -> None:
    records = falling(30_000, noise=0.01)
    for place in range(100, 30_000, 50):
        records[place] = replace(records[place], loss=float("nan"), loss_max=float("nan"))
    judge = judge_of(records)
    assert judge.counts["non_finite"] == 598
    assert len(judge.alerts()) <= 210


def test_a_rule_that_fails_is_named_and_the_others_go_on() -> None:
    judge = Judge()
    judge.see(replace(train(1, 2.0), learning_rate="fast"))  # type: ignore[arg-type]
    assert "the rule failed: TypeError" in judge.not_checked()["learning_rate_near_zero"]
    judge.see(replace(train(2, 2.0), nonfinite=1, nonfinite_step=2, nonfinite_what="loss"))
    assert [alert.rule for alert in judge.open_alerts()] == ["non_finite"]


def test_what_could_not_be_judged_is_said_with_its_reason() -> None:
    judge = judge_of(falling(5))
    assert judge.not_checked()["overfitting"] == "no validation"
    assert judge.not_checked()["loss_spike"] == "too few points of the train loss (5)"
    records = [
        replace(record, grad_norm=None, grad_norm_max=None) for record in falling(100) if isinstance(record, Train)
    ]
    assert judge_of(records).not_checked()["grad_norm_spike"] == "no gradient norms"
    assert "loss_spike" not in judge_of(records).not_checked()


def test_the_person_sets_the_checklists_two_and_ten() -> None:
    records = falling(200)
    records[100] = corpus.scaled(records[100], loss=2.6)
    records[150] = corpus.scaled(records[150], norm=14.0)
    assert {alert.rule for alert in judge_of(records).alerts()} == {"loss_spike", "grad_norm_spike"}
    calmer = RulePlan(settings={"loss_spike.ratio": 3.5, "grad_norm_spike.ratio": 20})
    assert judge_of(records, calmer).alerts() == []


@pytest.mark.parametrize(
    "settings", [{"loss_spike.height": 2.0}, {"loss_spike.ratio": "two"}, {"loss_spike.ratio": -1}]
)
def test_a_setting_that_does_not_exist_or_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(all_rules(), settings)
    assert next(iter(settings)) in refused.value.message and refused.value.way_out


def test_the_finished_record_asks_for_the_last_word() -> None:
    flat = falling(30, noise=0.01, start=1.0, end=1.0)
    judge = judge_of(flat)
    assert named(judge, "no_learning") == []
    changes = judge.see(Finished(0.0, 0.0, 30, "completed", 1.0, 100))
    assert [change.rule for change in changes] == ["no_learning"]


def test_every_rule_says_what_it_means_and_what_to_do() -> None:
    rules = all_rules()
    assert len({rule.name for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.meaning.endswith(".") and rule.advice.endswith("."), rule.name
        assert all(setting.why and setting.value > 0 for setting in rule.settings.values()), rule.name
    five = {"loss_spike", "grad_norm_spike", "non_finite", "overfitting", "learning_rate_near_zero"}
    assert five <= {rule.name for rule in rules}
    assert (resolve(rules, {})["loss_spike"]["ratio"], resolve(rules, {})["grad_norm_spike"]["ratio"]) == (2.0, 10.0)
