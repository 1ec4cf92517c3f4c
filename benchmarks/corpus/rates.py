"""Runs whose learning rate is near zero though steps remain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stationmaster_trainer.contract import RulePlan

from .shapes import Log, Rng, Shape, run, shape, trains


def _collapsed(rng: Rng, planned: bool, rate: Callable[[Shape, int], float], at: float) -> Log:
    form = shape(rng, schedule=rng.choice(["cosine", "linear"]), points=rng.choice([200, 400, 800]))
    start = int(at * form.points)
    records = run(rng, form, level=lambda point: form.level(min(point, start)))
    for place, point in zip(trains(records), range(form.points), strict=True):
        records[place] = replace(records[place], learning_rate=rate(form, point))  # type: ignore[call-arg]
    return Log(records, form.plan() if planned else RulePlan(), "lr", trains(records)[start])


def rate_collapses_early(rng: Rng) -> Log:
    at = rng.uniform(0.2, 0.5)
    return _collapsed(rng, True, lambda form, point: form.rate(point) * (1.0 if point < at * form.points else 1e-4), at)


def rate_zero_from_the_middle(rng: Rng) -> Log:
    at = rng.uniform(0.3, 0.6)
    return _collapsed(rng, False, lambda form, point: form.rate(point) if point < at * form.points else 0.0, at)


def schedule_stepped_too_often(rng: Rng) -> Log:
    """Stepped once per micro-batch: over after a quarter of the run."""
    return _collapsed(rng, True, lambda form, point: form.rate(min(form.points, 4 * point)), 0.25)


def schedule_shorter_than_the_run(rng: Rng) -> Log:
    """The plan's steps are over, training goes on at a rate of zero."""
    form = shape(rng, schedule=rng.choice(["cosine", "linear"]), points=400)
    end = int(form.points * rng.uniform(0.5, 0.8))
    short = replace(form, points=end)
    records = run(rng, form)
    places = trains(records)
    for place, point in zip(places, range(form.points), strict=True):
        records[place] = replace(records[place], learning_rate=short.rate(min(point, end)))  # type: ignore[call-arg]
    return Log(records, short.plan(), "lr", places[end])


KINDS: tuple[Callable[[Rng], Log], ...] = (
    rate_collapses_early,
    rate_zero_from_the_middle,
    schedule_stepped_too_often,
    schedule_shorter_than_the_run,
)
