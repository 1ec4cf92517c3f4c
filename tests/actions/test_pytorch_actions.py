"""Rules that act on real PyTorch runs: back behind the poisonous batch, or to a stop, only as confirmed."""

from __future__ import annotations

import pytest
from action_bench import BATCH, SAMPLES, Bench, kill_after_rollback, poison, shown

from stationmaster_server import alerts, page, progress, resume, runs
from stationmaster_trainer import control, manifest, order
from stationmaster_trainer.contract import Ack, Train
from stationmaster_trainer.schedule import learning_rate_at

MODEL = """
import time
import torch
from torch import nn

BAD = {bad}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))

    def forward(self, x):
        time.sleep({pause})
        return self.layers(x)


def build_model():
    return Net()


def build_data(part):
    made = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 3, generator=made)
    made.manual_seed(1 if part == "train" else 2)
    x = torch.randn({samples} if part == "train" else 200, 8, generator=made)
    y = (x @ weight).argmax(1)
    for row in BAD if part == "train" else ():
        x[row] = {value}
    return torch.utils.data.TensorDataset(x, y)
"""


def spoilt(bench: Bench, *steps: int, value: str = "float('nan')", pause: float = 0.0) -> Bench:
    bench.write("model.py", MODEL.format(bad=poison(*steps), samples=SAMPLES, value=value, pause=pause))
    return bench


def test_a_rollback_goes_behind_the_poisonous_batch_skips_it_and_the_run_finishes_well(bench: Bench) -> None:
    run = spoilt(bench, 63).begin(actions={"non_finite": "rollback"})
    status = bench.end()
    assert (status.state, status.cause, status.attempt, status.step) == ("succeeded", "completed", 2, 120)
    assert status.eval is not None and status.eval.metrics["accuracy"] > 0.8
    (action,) = status.actions
    assert (action.action, action.rule, action.step, action.first_step) == ("rollback", "non_finite", 60, 63)
    assert (action.skipped_first, action.skipped_last, action.rate_factor) == (61, 65, 0.5)
    assert poison(63)[0] + 1 in action.samples and len(action.samples) == BATCH
    assert bench.actions()[0].number == 1 and len(bench.actions()) == 1
    trained = bench.records(Train, 2)
    for record in trained:
        whole = learning_rate_at(record.step, peak=3e-3, warmup_steps=5, total_steps=120)
        assert record.learning_rate == 0.5 * whole
        assert record.nonfinite == 0
    assert [record.step for record in trained] == list(range(65, 121, 5))
    assert trained[-1].samples == 120 * BATCH and trained[-1].epoch == 125 * BATCH / SAMPLES
    rows = bench.rows()
    steps = [row["step"] for row in rows if "train/loss" in row]
    assert steps == list(range(5, 121, 5))
    assert next(row for row in rows if "action" in row) | {"time": 0} == {
        "step": 60, "time": 0, "action": "rollback", "rule": "non_finite", "message": action.message, "first_step": 63,
        "last_step": 65, "checkpoint": "checkpoints/run/checkpoint-60", "skipped_first": 61, "skipped_last": 65,
        "rate_factor": 0.5,
    }  # fmt: skip
    text, facts = page.summarize(bench.path)
    assert "rollback 1 by rule non_finite (step 63)" in text and "data of steps 61–65 left out" in text
    assert facts["actions"] == [{"action": "rollback", "rule": "non_finite", "step": 60, "first_step": 63}]
    report = run.report.read_text()
    assert "## Actions" in report and f"epoch_order(7, 0, 4000)[{62 * BATCH}:{63 * BATCH}]" in report
    assert poison(63)[0] in order.epoch_order(7, 0, 4000)[62 * BATCH : 63 * BATCH]


@pytest.mark.soak
def test_a_third_rollback_is_a_stop(bench: Bench) -> None:
    spoilt(bench, 33, 58, 93).begin(actions={"non_finite": "rollback"})
    status = bench.end()
    assert (status.state, status.cause, status.attempt) == ("stopped", "rule", 3)
    assert [action.action for action in status.actions] == ["rollback", "rollback", "stop"]
    assert [action.rate_factor for action in status.actions[:2]] == [0.5, 0.25]
    assert "Stopped by rule non_finite at step" in status.message and "taken back 2 times before" in status.message
    assert manifest.newest_verified(bench.path / "checkpoints" / "run").step == status.step
    assert [action.action for action in bench.actions()] == ["rollback", "rollback", "stop"]
    text = progress.text(runs.view(bench.run))
    assert "Stopped by rule non_finite" in text and text.count("rollback") >= 2


def test_a_stop_saves_a_checkpoint_and_names_the_rule_and_the_step(bench: Bench) -> None:
    spoilt(bench, 33, pause=0.02).begin(actions={"non_finite": "stop"})
    status = bench.end()
    assert (status.state, status.cause) == ("stopped", "rule")
    assert f"Stopped by rule non_finite at step {status.step}" in status.message and status.step < 120
    assert manifest.newest_verified(bench.path / "checkpoints" / "run").step == status.step
    (action,) = bench.actions()
    assert (action.action, action.rule, action.first_step, action.step) == ("stop", "non_finite", 33, status.step)
    assert [row["action"] for row in bench.rows() if "action" in row] == ["stop"]


def test_without_a_confirmed_action_a_rule_only_warns(bench: Bench) -> None:
    spoilt(bench, 33).begin(actions={"non_finite": "alert", "divergence": "stop"})
    status = bench.end()
    assert (status.state, status.step, status.attempt, status.actions) == ("succeeded", 120, 1, ())
    found, _ = alerts.episodes(bench.run)
    assert [one.alert.rule for one in found] == ["non_finite"] and found[0].alert.samples
    assert not bench.records(Ack, 1) and not bench.actions()


def test_a_worker_killed_after_a_rollback_and_resumed_repeats_its_numbers(bench: Bench) -> None:
    spoilt(bench, 23, pause=0.02).begin(actions={"non_finite": "rollback"}, log_every=1)
    before = kill_after_rollback(bench)
    again = shown(bench, 3)
    assert before and before == {step: again[step] for step in before}
    assert [row["step"] for row in bench.rows() if "train/loss" in row] == list(range(1, 121))
    assert len(bench.actions()) == 1 and not any(record.nonfinite for record in bench.records(Train, 3))


def test_a_supervisor_killed_between_decision_and_rollback_loses_nothing(bench: Bench) -> None:
    spoilt(bench, 33, pause=0.02).begin(actions={"non_finite": "rollback"})
    attempt = bench.run.attempt(1)
    bench.until(lambda: control.named(attempt, "rollback"))
    bench.kill("supervisor")
    bench.until(lambda: (seen := runs.view(bench.run)).over and not seen.worker_alive)
    assert len(bench.run.attempts()) == 1
    resumed = resume.resume(bench.path, None)
    assert resumed.step == 30
    status = bench.end()
    assert (status.state, status.attempt, status.step) == ("succeeded", 2, 120)
    (action,) = bench.actions()
    assert (action.rule, action.step, action.number) == ("non_finite", 30, 1)
    assert all(record.nonfinite == 0 for record in bench.records(Train, 2))


def test_a_person_who_stops_during_a_rollback_is_obeyed(bench: Bench) -> None:
    spoilt(bench, 33, pause=0.02).begin(actions={"non_finite": "rollback"})
    bench.until(lambda: control.named(bench.run.attempt(1), "rollback"))
    runs.request_stop(bench.run)
    status = bench.end()
    assert (status.state, status.cause, status.actions) == ("stopped", "user", ())
    assert len(bench.run.attempts()) == 1 and "asked for a rollback" in status.message
