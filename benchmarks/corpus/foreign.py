"""Logs of other shapes than ours, sound and faulty: a row an epoch, validation alone, few digits, signs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from stationmaster_trainer.contract import Eval, Record, RulePlan, Train

from .shapes import Log, Rng, evaluation, run, scaled, shape, train, trains


def _epochs(rng: Rng, count: int, level: Callable[[float], float], value: Callable[[float], float]) -> list[Record]:
    """One train loss and one validation an epoch, from functions of the share of the run that is done."""
    noise, wobble = rng.uniform(0.002, 0.02), rng.uniform(0.005, 0.03)
    records: list[Record] = []
    for epoch in range(1, count + 1):
        share = (epoch - 1) / count
        records.append(train(epoch, level(share) * math.exp(rng.gauss(0, noise)), steps=1))
        records.append(evaluation(epoch, value(share) * math.exp(rng.gauss(0, wobble))))
    return records


def _falling(rng: Rng, start: float) -> Callable[[float], float]:
    low, power = start * rng.uniform(0.1, 0.4), rng.uniform(0.5, 1.2)
    return lambda share: low + (start - low) * (1.0 + 20.0 * share) ** -power


def a_row_an_epoch(rng: Rng) -> Log:
    """Keras: 5 to 40 epochs, validation settles a little above the train loss and stays."""
    level = _falling(rng, rng.choice([0.7, 2.3, 4.6]))
    gap, settled = rng.uniform(1.02, 1.3), rng.uniform(0.3, 1.0)
    return Log(_epochs(rng, rng.randint(5, 40), level, lambda share: gap * level(min(share, settled))))


def validation_below_train(rng: Rng) -> Log:
    """Dropout: the train loss is measured with it, validation without."""
    level = _falling(rng, 2.3)
    return Log(_epochs(rng, rng.randint(10, 60), level, lambda share: 0.7 * level(share)))


def validation_alone(rng: Rng) -> Log:
    level, wobble = _falling(rng, rng.choice([3.0, 10.0])), rng.uniform(0.002, 0.03)
    count = rng.randint(6, 60)
    return Log([evaluation(100 * at, level(at / count) * math.exp(rng.gauss(0, wobble))) for at in range(1, count + 1)])


def train_alone_and_short(rng: Rng) -> Log:
    level, noise = _falling(rng, rng.choice([0.7, 2.3])), rng.uniform(0.01, 0.1)
    count = rng.randint(5, 20)
    return Log([train(at + 1, level(at / count) * math.exp(rng.gauss(0, noise))) for at in range(count)])


def discriminator(rng: Rng) -> Log:
    """An adversarial loss: it falls early, then swings slowly and for ever."""
    points, swing = rng.choice([300, 1000]), 0.0
    wide = rng.uniform(0.1, 0.25)
    records: list[Record] = []
    for at in range(points):
        swing = 0.95 * swing + rng.gauss(0, wide * 0.31)
        level = 0.6 + 0.78 * math.exp(-20.0 * at / points)
        records.append(train(at + 1, level * math.exp(swing + rng.gauss(0, 0.1))))
    return Log(records)


def reward_to_maximise(rng: Rng) -> Log:
    """Logged as a loss of opposite sign: from zero down to a large negative number, under much noise."""
    points, end = rng.choice([200, 800]), -(10 ** rng.uniform(0, 3))
    wide = 0.1 * abs(end)
    return Log([train(at + 1, end * (1.0 - math.exp(-4.0 * at / points)) + rng.gauss(0, wide)) for at in range(points)])


def harder_data_in_steps(rng: Rng) -> Log:
    """A curriculum: twice the loss rises by a fifth to a third at once, and falls again."""
    form = shape(rng, noise=rng.choice([0.02, 0.05]), schedule="constant")
    rise = rng.uniform(1.2, 1.33)
    cuts = [int(form.points * share) for share in (0.35, 0.7)]

    def level(at: int) -> float:
        since = min((at - cut for cut in cuts if at >= cut), default=None)
        back = 1.0 if since is None else 1.0 + (rise - 1.0) * math.exp(-6.0 * since / form.points)
        return form.level(at) * back

    return Log(run(rng, form, level=level), form.plan())


def rates_of_four_decimals(rng: Rng) -> Log:
    """The schedule goes to zero, and the log prints its last quarter as 0.0000."""
    form = shape(rng, schedule=rng.choice(["cosine", "linear"]), peak=rng.uniform(3e-4, 2e-3), noise=0.03)
    records = run(rng, form)
    for place in trains(records):
        record = records[place]
        assert isinstance(record, Train)
        records[place] = replace(record, learning_rate=round(record.learning_rate, 4))
    return Log(records)


def few_digits(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form, evals=30)
    return Log([replace(r, loss=float(f"{r.loss:.3g}")) if isinstance(r, (Train, Eval)) else r for r in records])


def two_cadences(rng: Rng) -> Log:
    """Gradient norms in every tenth row only, validations at steps that no row has."""
    form = shape(rng, every=10)
    records = run(rng, form, evals=25)
    for number, place in enumerate(trains(records)):
        if number % 10:
            records[place] = replace(records[place], grad_norm=None, grad_norm_max=None)  # type: ignore[call-arg]
    return Log([replace(r, step=r.step + 7) if isinstance(r, Eval) else r for r in records])


def overfitting_by_epochs(rng: Rng) -> Log:
    count = rng.randint(10, 40)
    level, best = _falling(rng, rng.choice([0.7, 2.3])), rng.uniform(0.2, 0.4)
    rise = rng.uniform(0.3, 1.0)

    def value(share: float) -> float:
        return 1.05 * level(min(share, best)) * (1.0 + rise * max(0.0, share - best) / (1.0 - best))

    records = _epochs(rng, count, lambda share: level(share) * (1.0 - 0.6 * share), value)
    at = next(i for i, r in enumerate(records) if isinstance(r, Eval) and r.step > best * count + 3)
    return Log(records, RulePlan(), "overfit", at)


def stuck_by_epochs(rng: Rng) -> Log:
    count = rng.randint(14, 40)
    chance = math.log(rng.choice([2, 2, 10]))
    records = _epochs(rng, count, lambda share: chance, lambda share: chance)
    return Log(records, RulePlan(), "no_learning", 2 * 11)


def nan_by_epochs(rng: Rng) -> Log:
    count = rng.randint(6, 30)
    level, at = _falling(rng, 2.3), rng.randint(2, count - 2)
    records = _epochs(rng, count, level, level)
    records[2 * at :] = [replace(record, loss=math.nan) for record in records[2 * at :]]  # type: ignore[union-attr,call-arg]
    return Log(records, RulePlan(), "nan", 2 * at)


def spike_of_few_digits(rng: Rng) -> Log:
    form = shape(rng, noise=rng.choice([0.01, 0.05]))
    records = [replace(r, loss=float(f"{r.loss:.3g}")) if isinstance(r, Train) else r for r in run(rng, form)]
    at = trains(records)[int(form.points * rng.uniform(0.2, 0.9))]
    records[at] = scaled(records[at], rng.uniform(4, 20))
    return Log(records, RulePlan(), "spike", at)


HEALTHY: tuple[Callable[[Rng], Log], ...] = (
    a_row_an_epoch,
    validation_below_train,
    validation_alone,
    train_alone_and_short,
    discriminator,
    reward_to_maximise,
    harder_data_in_steps,
    rates_of_four_decimals,
    few_digits,
    two_cadences,
)
FAULTY: tuple[Callable[[Rng], Log], ...] = (
    overfitting_by_epochs,
    stuck_by_epochs,
    nan_by_epochs,
    spike_of_few_digits,
)
