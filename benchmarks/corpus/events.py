"""Runs with a fault that is one event: a value that is not finite, a jump of the loss or of the gradient norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from stationmaster_trainer.contract import Eval, RulePlan, Train

from .healthy import windows_of_noisy_steps
from .shapes import Log, Rng, broken, middle, run, scaled, shape, trains


def nan_from_a_step_on(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    at = middle(rng, records)
    records[at:] = [broken(r) if isinstance(r, Train) else replace(r, loss=math.nan) for r in records[at:]]  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_in_one_record(rng: Rng) -> Log:
    records = run(rng, shape(rng))
    at = middle(rng, records)
    records[at] = replace(records[at], loss=math.nan, loss_max=math.nan, loss_min=math.nan)  # type: ignore[call-arg]
    return Log(records, RulePlan(), "nan", at)


def nan_inside_a_window(rng: Rng) -> Log:
    form = shape(rng, every=50)
    records = run(rng, form)
    at = middle(rng, records)
    step = records[at].step - rng.randint(0, 49)  # type: ignore[union-attr]
    records[at] = replace(records[at], nonfinite=1, nonfinite_step=step, nonfinite_what="loss")  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_from_the_first_record(rng: Rng) -> Log:
    records = run(rng, shape(rng, points=60), evals=3)
    return Log([broken(r) if isinstance(r, Train) else r for r in records], RulePlan(), "nan", 0)


def infinite_loss(rng: Rng) -> Log:
    records = run(rng, shape(rng))
    at = middle(rng, records)
    records[at] = replace(records[at], loss=math.inf, loss_max=math.inf)  # type: ignore[call-arg]
    return Log(records, RulePlan(), "nan", at)


def nan_in_validation_only(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form, evals=20)
    places = [place for place, record in enumerate(records) if isinstance(record, Eval)]
    at = rng.choice(places[3:])
    records = [replace(r, loss=math.nan) if isinstance(r, Eval) and i >= at else r for i, r in enumerate(records)]
    return Log(records, form.plan(), "nan", at)


def nan_gradients_that_stay(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    at = middle(rng, records, 0.2, 0.7)
    for place in [place for place in trains(records) if place >= at]:
        records[place] = replace(records[place], grad_norm=math.nan, grad_norm_max=None)  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_gradient_that_was_applied(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    at = middle(rng, records)
    more = {"nonfinite": 1, "nonfinite_step": records[at].step, "nonfinite_what": "grad_norm", "skipped": 0}  # type: ignore[union-attr]
    records[at] = replace(records[at], **more)  # type: ignore[arg-type]
    return Log(records, form.plan(), "nan", at)


def _spike(
    rng: Rng, factor: Callable[[], float], width: int, low: float = 0.2, high: float = 0.95, **given: float
) -> Log:
    form = shape(rng, **{"noise": rng.choice([0.01, 0.03, 0.08]), **given})
    records = run(rng, form)
    at = middle(rng, records, low, high)
    height = factor()
    for number, place in enumerate([place for place in trains(records) if place >= at][:width]):
        share = 1.0 - number / width
        records[place] = scaled(records[place], 1.0 + (height - 1.0) * share, 1.0 + (height - 1.0) * share)
    return Log(records, form.plan(), "spike", at)


def spike_of_one_step(rng: Rng) -> Log:
    return _spike(rng, lambda: rng.uniform(4, 30), 1)


def small_spike(rng: Rng) -> Log:
    return _spike(rng, lambda: rng.uniform(2.5, 3.5), 1, noise=0.03)


def spike_that_recovers_slowly(rng: Rng) -> Log:
    return _spike(rng, lambda: rng.uniform(3, 10), 12)


def huge_spike(rng: Rng) -> Log:
    return _spike(rng, lambda: 10 ** rng.uniform(2, 9), 3)


def early_spike(rng: Rng) -> Log:
    form = shape(rng, noise=rng.choice([0.01, 0.05]), points=400)
    records = run(rng, form)
    at = trains(records)[rng.randint(11, 20)]
    records[at] = scaled(records[at], rng.uniform(4, 20))
    return Log(records, form.plan(), "spike", at)


def very_early_spike(rng: Rng) -> Log:
    form = shape(rng, noise=rng.choice([0.01, 0.05]), points=200)
    records = run(rng, form)
    at = trains(records)[rng.randint(3, 8)]
    records[at] = scaled(records[at], rng.uniform(10, 1e4))
    return Log(records, form.plan(), "spike", at)


def spike_inside_a_window(rng: Rng) -> Log:
    """One of a hundred steps: the mean hardly moves."""
    log = windows_of_noisy_steps(rng)
    at = middle(rng, log.records)
    record = log.records[at]
    assert isinstance(record, Train)
    high = record.loss * rng.uniform(8, 50)
    log.records[at] = replace(
        record, loss=record.loss + (high - record.loss) / 100, loss_max=high, loss_max_step=record.step - 7
    )
    return Log(log.records, log.plan, "spike", at)


def spike_in_noise(rng: Rng) -> Log:
    return _spike(rng, lambda: rng.uniform(8, 30), 1, noise=0.3)


def spikes_again_and_again(rng: Rng) -> Log:
    form = shape(rng, noise=0.05, points=800)
    records = run(rng, form)
    places = trains(records)
    hit = sorted(rng.sample(places[100:], 12))
    for place in hit:
        records[place] = scaled(records[place], rng.uniform(3, 12))
    return Log(records, form.plan(), "spike", hit[0])


def spike_in_validation(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form, evals=20)
    places = [place for place, record in enumerate(records) if isinstance(record, Eval)]
    at = rng.choice(places[8:])
    records[at] = replace(records[at], loss=records[at].loss * rng.uniform(20, 200))  # type: ignore[union-attr,call-arg]
    return Log(records, form.plan(), "spike", at)


def _grad_spike(rng: Rng, factor: Callable[[], float], count: int) -> Log:
    form = shape(rng)
    records = run(rng, form)
    hit = sorted(rng.sample(trains(records)[30:], count))
    for place in hit:
        records[place] = scaled(records[place], norm=factor())
    return Log(records, form.plan(), "gradspike", hit[0])


def exploding_gradient_once(rng: Rng) -> Log:
    return _grad_spike(rng, lambda: rng.uniform(100, 1e5), 1)


def gradient_spike_of_thirty(rng: Rng) -> Log:
    return _grad_spike(rng, lambda: rng.uniform(30, 60), 1)


def gradient_spikes_again_and_again(rng: Rng) -> Log:
    return _grad_spike(rng, lambda: rng.uniform(50, 500), 5)


def gradient_spike_inside_a_window(rng: Rng) -> Log:
    form = shape(rng, every=50)
    records = run(rng, form)
    at = middle(rng, records)
    record = records[at]
    assert isinstance(record, Train) and record.grad_norm
    high = record.grad_norm * rng.uniform(50, 500)
    more = {"grad_norm": record.grad_norm + high / 50, "grad_norm_max": high, "grad_norm_max_step": record.step - 9}
    records[at] = replace(record, **more)  # type: ignore[arg-type]
    return Log(records, form.plan(), "gradspike", at)


KINDS: tuple[Callable[[Rng], Log], ...] = (
    nan_from_a_step_on,
    nan_in_one_record,
    nan_inside_a_window,
    nan_from_the_first_record,
    infinite_loss,
    nan_in_validation_only,
    nan_gradients_that_stay,
    nan_gradient_that_was_applied,
    spike_of_one_step,
    small_spike,
    spike_that_recovers_slowly,
    huge_spike,
    early_spike,
    very_early_spike,
    spike_inside_a_window,
    spike_in_noise,
    spikes_again_and_again,
    spike_in_validation,
    exploding_gradient_once,
    gradient_spike_of_thirty,
    gradient_spikes_again_and_again,
    gradient_spike_inside_a_window,
)
