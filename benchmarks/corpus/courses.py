"""Runs whose course is the fault: overfitting, divergence, nothing learnt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from stationmaster_trainer.contract import Eval, RulePlan

from .shapes import Log, Rng, Shape, run, shape, trains, validated


def _overfit(rng: Rng, evals: int, best: float, rise: float, wobble: float, **given: float) -> Log:
    """Validation falls to its best at the share `best`, then rises by `rise` in all, while the train loss falls on."""
    form = shape(rng, **{"power": 0.9, **given})
    low = form.start * rng.uniform(0.4, 0.7)

    def value(share: float) -> float:
        after = max(0.0, share - best) / (1.0 - best)
        return (
            (low + (form.start - low) * max(0.0, 1.0 - share / best) ** 2)
            * (1.0 + rise * after)
            * math.exp(rng.gauss(0, wobble))
        )

    records = validated(run(rng, form, evals=evals), value)
    count = sum(isinstance(record, Eval) for record in records)
    at = next(
        i
        for i, r in enumerate(records)
        if isinstance(r, Eval) and r.step / (form.points * form.every) > best + 2.5 / count
    )
    return Log(records, form.plan(), "overfit", at)


def overfitting_classic(rng: Rng) -> Log:
    return _overfit(rng, 20, rng.uniform(0.25, 0.5), rng.uniform(0.2, 1.0), 0.005)


def overfitting_tiny_set(rng: Rng) -> Log:
    """The best validation is one of the first."""
    return _overfit(rng, 30, 0.07, rng.uniform(0.5, 5.0), 0.01, power=2.0)


def overfitting_slow(rng: Rng) -> Log:
    return _overfit(rng, 40, 0.4, rng.uniform(0.06, 0.12), 0.003)


def overfitting_under_noise(rng: Rng) -> Log:
    return _overfit(rng, 40, 0.3, rng.uniform(0.4, 0.8), 0.03)


def overfitting_with_few_validations(rng: Rng) -> Log:
    return _overfit(rng, 8, 0.35, rng.uniform(0.4, 1.0), 0.005)


def _diverging(rng: Rng, grow: Callable[[Shape, int, int], float]) -> Log:
    form = shape(rng, noise=rng.choice([0.01, 0.05, 0.1]))
    at = int(form.points * rng.uniform(0.3, 0.7))
    records = run(rng, form, level=lambda point: grow(form, point, at) if point >= at else form.level(point))
    base = form.level(at)
    place = next(
        p
        for p, point in zip(trains(records), range(form.points), strict=True)
        if grow(form, point, at) > 1.6 * base and point >= at
    )
    return Log(records, form.plan(), "divergence", place)


def divergence_slow(rng: Rng) -> Log:
    factor = rng.uniform(2.5, 5.0)
    return _diverging(
        rng, lambda form, point, at: form.level(at) * (1 + (factor - 1) * (point - at) / (0.25 * form.points))
    )


def divergence_sudden(rng: Rng) -> Log:
    factor = rng.uniform(2.5, 20.0)
    return _diverging(rng, lambda form, point, at: form.level(at) * factor)


def divergence_exponential(rng: Rng) -> Log:
    pace = rng.uniform(5, 40)
    return _diverging(rng, lambda form, point, at: form.level(at) * math.exp(min(60.0, (point - at) / pace)))


def collapse_to_the_start(rng: Rng) -> Log:
    return _diverging(rng, lambda form, point, at: max(form.start, 1.7 * form.level(at)))


def _flat(rng: Rng, level: float, noise: float, first: Callable[[int], float] = lambda at: 1.0, **plan: int) -> Log:
    form = shape(rng, start=level, floor=level, noise=noise, points=rng.choice([120, 400, 800]), warmup=0.02)
    records = run(rng, form, level=lambda at: level * first(at))
    late = trains(records)[max(50, int(0.1 * form.points)) - 1]
    return Log(records, replace(form.plan(), **plan), "no_learning", late)  # type: ignore[arg-type]


def divergence_in_a_short_run(rng: Rng) -> Log:
    """Ten to sixteen epochs, one number each: it learns, then it is back near the start."""
    points = rng.randint(10, 16)
    form = shape(rng, points=points, noise=0.03, start=2.3, floor=0.3, power=0.9)
    at = rng.randint(5, points - 4)
    records = run(rng, form, evals=0, level=lambda point: form.level(point) if point < at else 2.3)
    return Log(records, RulePlan(), "divergence", trains(records)[at])


def stuck_at_chance(rng: Rng) -> Log:
    classes = rng.choice([2, 10, 100])
    return _flat(rng, math.log(classes), 0.01, classes=classes)


def wrong_labels(rng: Rng) -> Log:
    """A bad first loss falls to ln(classes) within a few records and stays."""
    classes = rng.choice([2, 10, 100])
    return _flat(rng, math.log(classes), 0.004, lambda at: 1.0 + 0.3 * math.exp(-at / 2.0), classes=classes)


def learning_rate_far_too_low(rng: Rng) -> Log:
    return _flat(rng, rng.choice([2.3, 6.9, 0.5]), rng.choice([0.02, 0.08]), lambda at: 1.0 - 1e-5 * at)


def constant_under_noise(rng: Rng) -> Log:
    return _flat(rng, rng.uniform(0.1, 100.0), rng.choice([0.2, 0.4]))


KINDS: tuple[Callable[[Rng], Log], ...] = (
    overfitting_classic,
    overfitting_tiny_set,
    overfitting_slow,
    overfitting_under_noise,
    overfitting_with_few_validations,
    divergence_slow,
    divergence_sudden,
    divergence_exponential,
    collapse_to_the_start,
    divergence_in_a_short_run,
    stuck_at_chance,
    wrong_labels,
    learning_rate_far_too_low,
    constant_under_noise,
)
