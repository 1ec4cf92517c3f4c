"""Rules that act on real Flax runs."""

from __future__ import annotations

import pytest
from action_bench import BATCH, SAMPLES, Bench, kill_after_rollback, poison, shown

from stationmaster_trainer.contract import Train

MODEL = """
import time

import numpy as np
from flax import nnx

BAD = {bad}


class Net(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(8, 32, rngs=rngs)
        self.last = nnx.Linear(32, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


class Rows:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        time.sleep({pause})
        return self.x[row], self.y[row]


def build_data(part):
    made = np.random.default_rng(0)
    weight = made.normal(size=(8, 3))
    made = np.random.default_rng(1 if part == "train" else 2)
    x = made.normal(size=({samples} if part == "train" else 200, 8)).astype(np.float32)
    y = (x @ weight).argmax(1).astype(np.int64)
    if part == "train":
        x[BAD] = np.nan
        return Rows(x, y)
    return x, y
"""
FLAX = {"framework": "flax", "model_path": "model.py", "learning_rate": 1e-2}


def spoilt(bench: Bench, *steps: int, pause: float = 0.0) -> Bench:
    bench.write("model.py", MODEL.format(bad=poison(*steps), samples=SAMPLES, pause=pause))
    return bench


@pytest.mark.soak
def test_a_flax_run_goes_back_skips_the_batch_survives_a_kill_and_finishes_well(bench: Bench) -> None:
    spoilt(bench, 33, pause=0.001).begin(actions={"non_finite": "rollback"}, log_every=1, **FLAX)
    before = kill_after_rollback(bench)
    again, status = shown(bench, 3), bench.status()
    assert before and before == {step: again[step] for step in before}
    (action,) = status.actions
    assert (action.rule, action.step, action.first_step, action.skipped_last) == ("non_finite", 30, 33, 33)
    assert poison(33)[0] + 1 in action.samples and len(action.samples) == BATCH
    assert status.eval is not None and status.eval.metrics["accuracy"] > 0.8
    assert not any(record.nonfinite for record in (*bench.records(Train, 2), *bench.records(Train, 3)))
    assert [row["step"] for row in bench.rows() if "train/loss" in row] == list(range(1, 121))


@pytest.mark.soak
def test_a_flax_run_stops_where_the_plan_says_so(bench: Bench) -> None:
    spoilt(bench, 33, pause=0.002).begin(actions={"non_finite": "stop"}, **FLAX)
    status = bench.end()
    assert (status.state, status.cause) == ("stopped", "rule") and "Stopped by rule non_finite" in status.message
    assert status.checkpoint is not None and status.checkpoint.step == status.step < 120
