"""The figures of a record and of the status: exact against plain sums, unharmed by what is not finite."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from process_bench import Bench

from stationmaster_trainer.contract import Checkpoint, Eval, Train
from stationmaster_trainer.process import identify, is_alive
from stationmaster_trainer.progress import CURVE_POINTS, Average, Curve, Progress
from stationmaster_trainer.watchdog import Watchdog
from stationmaster_trainer.window import MAX_INDICES, Window


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_window_weighs_by_samples_and_keeps_the_extremes_with_their_steps() -> None:
    window = Window()
    for step, loss, norm, samples in [(1, 1.0, 2.0, 30), (2, 4.0, 9.0, 10), (3, 0.5, 1.0, 20)]:
        window.add(step, loss, norm, samples, 0.1 * step, indices=range(step * 100, step * 100 + 99))
    record = window.take(elapsed=5.0, epoch=1.5, samples=60)
    assert record.loss == pytest.approx((30 + 40 + 10) / 60) and (record.loss_max, record.loss_min) == (4.0, 0.5)
    assert (record.loss_max_step, record.grad_norm, record.grad_norm_max, record.grad_norm_max_step) == (2, 4.0, 9.0, 2)
    assert (record.steps, record.window_samples, record.step, record.nonfinite) == (3, 60, 3, 0)
    assert record.learning_rate == pytest.approx(0.3)
    assert record.worst_samples == tuple(range(200, 200 + MAX_INDICES))
    with pytest.raises(ValueError, match="no step"):
        window.take(elapsed=6.0, epoch=2.0, samples=60)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_and_kept_out_of_every_mean(bad: float) -> None:
    window = Window()
    window.add(1, 2.0, 1.0, 10, 0.1, indices=[1])
    window.add(2, 3.0, bad, 10, 0.1, skipped=True, indices=[2])
    window.add(3, bad, None, 10, 0.1, indices=[3])
    window.add(4, 9.0, 1.0, 10, 0.1, indices=[4])
    record = window.take(elapsed=1.0, epoch=1.0, samples=40)
    assert (record.nonfinite, record.nonfinite_step, record.nonfinite_what) == (2, 2, "grad_norm")
    assert (record.skipped, record.worst_samples) == (1, (2,))
    assert record.loss == pytest.approx(14 / 3) and record.grad_norm == 1.0
    window.add(5, bad, bad, 10, 0.1)
    record = window.take(elapsed=1.0, epoch=1.0, samples=50)
    assert math.isnan(record.loss) and record.grad_norm is None and record.nonfinite == 1


def test_validation_and_saving_do_not_count_as_training_time() -> None:
    clock = Clock()
    window = Window(clock)
    window.add(1, 1.0, 1.0, 100, 0.1)
    clock.now = 2.0
    with window.paused():
        clock.now = 60.0
    window.add(2, 1.0, 1.0, 100, 0.1)
    clock.now = 62.0
    assert window.take(elapsed=1.0, epoch=1.0, samples=200).samples_per_second == pytest.approx(50.0)
    window.add(3, 1.0, 1.0, 100, 0.1)
    clock.now = 63.0
    assert window.take(elapsed=1.0, epoch=1.0, samples=300).samples_per_second == pytest.approx(100.0)


def test_a_short_last_batch_moves_the_average_by_its_weight_only() -> None:
    average = Average()
    for _ in range(1000):
        average.add(1.0, 1, 64)
    average.add(100.0, 1, 1)
    assert average.value == pytest.approx(1.0 + 99 * (1 / 64) / (1 / (1 - 0.5 ** (1 / 50))), rel=0.02)
    average.add(math.nan, 1, 64)
    assert average.value is not None and math.isfinite(average.value)


def test_a_curve_of_any_length_stays_small_even_and_in_order() -> None:
    curve = Curve()
    for step in range(1, 100_001):
        curve.add(step, float(step))
        if step % 997 == 0:
            assert len(curve.points) <= CURVE_POINTS
    points = curve.points
    gaps = {later[0] - earlier[0] for earlier, later in pairwise(points[:-1])}
    assert len(points) > CURVE_POINTS // 2 and len(gaps) == 1 and points[-1][0] == 100_000
    assert all(step - gaps.copy().pop() <= value <= step for step, value in points[:-1])
    curve.add(100_001, math.nan)
    assert curve.points == points


def test_the_remaining_time_counts_validations_and_saves_that_are_still_due(bench: Bench) -> None:
    progress = Progress(bench.spec(total_steps=1000, validate_every=100, checkpoint_every=250))
    progress.see(_train(step=400, steps=100, seconds=10.0))
    assert progress.eta_seconds == pytest.approx(60.0)
    progress.see(Eval(0.0, 0.0, 400, 1.0, {}, 100, seconds=5.0))
    progress.see(Checkpoint(0.0, 0.0, 400, "c", 1, 9.0, stall_seconds=2.0))
    assert progress.eta_seconds == pytest.approx(60.0 + 6 * 5.0 + 3 * 2.0)
    progress.see(_train(step=1000, steps=100, seconds=10.0))
    assert progress.eta_seconds == 0.0


def test_the_best_follows_validation_and_loses_its_path_when_it_is_removed(bench: Bench) -> None:
    progress = Progress(bench.spec())
    for step, loss in [(50, 1.0), (100, 0.5), (150, math.nan), (200, 0.7)]:
        progress.see(Eval(0.0, 0.0, step, loss, {}, 100, 0.1))
        removed = ("c/100",) if step == 200 else ()
        progress.see(Checkpoint(0.0, 0.0, step, f"c/{step}", 1, 0.1, 0.1, removed=removed))
        if step == 150:
            assert progress.best is not None and progress.best.path == "c/100"
    assert progress.best is not None
    assert (progress.best.step, progress.best.value, progress.best.path) == (100, 0.5, None)


def test_without_validation_the_best_is_the_train_loss(bench: Bench) -> None:
    progress = Progress(bench.spec(val_samples=0))
    progress.see(_train(step=50, steps=10, seconds=1.0))
    progress.see(Checkpoint(0.0, 0.0, 50, "c/50", 1, 0.1, 0.1, best=True))
    assert progress.best is not None and (progress.best.metric, progress.best.value) == ("train/loss", 1.5)


@pytest.mark.fault("F12")
def test_the_time_out_is_learned_for_each_phase() -> None:
    watchdog = Watchdog(0.0, floor=60.0, first=600.0)
    watchdog.heard(30.0, "train")
    assert watchdog.limit == 600.0  # nothing is known of this phase yet
    for now in (50.0, 70.0, 90.0):
        watchdog.heard(now, "train")
    assert watchdog.limit == 100.0 and watchdog.overdue(190.0) is None
    assert watchdog.overdue(190.1) == pytest.approx(100.1)
    watchdog.heard(91.0, "eval")
    assert watchdog.limit == 600.0
    watchdog.heard(99.0, "train")
    watchdog.heard(99.5, "eval")
    assert watchdog.limit == 60.0  # five times eight seconds is under the floor
    watchdog.restart(1000.0)
    assert watchdog.overdue(1050.0) is None


@pytest.mark.fault("F18")
def test_a_pid_that_was_given_away_again_is_another_process() -> None:
    import dataclasses
    import os

    me = identify(os.getpid())
    assert is_alive(me)
    assert not is_alive(dataclasses.replace(me, start_ticks=me.start_ticks - 1))
    assert not is_alive(dataclasses.replace(me, boot_id="before the restart"))
    assert not is_alive(dataclasses.replace(me, pid=0))


def test_adding_a_step_costs_microseconds() -> None:
    """Bound ten times the measured cost: the two cores are shared."""
    import time

    window, samples = Window(), list(range(64))
    values = [random.random() for _ in range(10_000)]
    begun = time.perf_counter()
    for step, value in enumerate(values):
        window.add(step, value, value, 64, 0.1, indices=samples)
    assert (time.perf_counter() - begun) / len(values) < 10e-6


def _train(step: int, steps: int, seconds: float) -> Train:
    return Train(
        time=0.0,
        elapsed=0.0,
        step=step,
        epoch=1.0,
        samples=step * 8,
        loss=1.5,
        loss_max=2.0,
        loss_min=1.0,
        grad_norm=1.0,
        grad_norm_max=1.0,
        learning_rate=0.1,
        samples_per_second=steps * 8 / seconds,
        steps=steps,
        window_samples=steps * 8,
    )
