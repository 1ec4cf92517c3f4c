"""Healthy runs that look alarming: schedules, restarts, heavy tails, small batches, resumed steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from stationmaster_trainer.contract import Eval, Started, Train

from .shapes import Log, Rng, heavy, run, scaled, shape, trains, validated


def planned_cosine_end(rng: Rng) -> Log:
    form = shape(rng, schedule="cosine")
    return Log(run(rng, form), form.plan())


def cosine_end_without_a_plan(rng: Rng) -> Log:
    return Log(run(rng, shape(rng, schedule="cosine")))


def linear_end_without_a_plan(rng: Rng) -> Log:
    return Log(run(rng, shape(rng, schedule="linear")))


def noisy_small_batches(rng: Rng) -> Log:
    form = shape(rng, noise=rng.uniform(0.3, 0.6), points=rng.choice([400, 1500, 3000]))
    return Log(run(rng, form), form.plan())


def gamma_small_batches(rng: Rng) -> Log:
    """The mean of a few exponentially distributed sample losses, as with four samples a batch."""
    count = rng.choice([4, 8, 16])
    form = shape(rng, noise=0.1, points=rng.choice([400, 1500, 3000]))
    return Log(run(rng, form, lambda rng: rng.gammavariate(count, 1.0 / count)), form.plan())


def heavy_tails_near_zero(rng: Rng) -> Log:
    form = shape(rng, power=rng.uniform(1.8, 2.6), noise=0.05, start=rng.choice([0.7, 2.3, 4.6]))
    form.floor = form.start * 1e-5
    return Log(run(rng, form, heavy(rng.uniform(0.4, 0.8), 8), evals=0))


def heavy_tailed_batches(rng: Rng) -> Log:
    form = shape(rng, noise=0.05, points=rng.choice([400, 1500]))
    return Log(run(rng, form, heavy(rng.uniform(0.1, 0.2), 8)), form.plan())


def step_decays(rng: Rng) -> Log:
    """The rate falls tenfold three times, the loss drops each time; the last piece runs at a thousandth of the peak."""
    form = shape(rng, schedule="constant", warmup=0.0)
    cuts = [int(form.points * share) for share in (0.5, 0.75, 0.9)]
    records = run(rng, form, level=lambda at: form.level(at) * 0.75 ** sum(at >= cut for cut in cuts))
    for place, at in zip(trains(records), range(form.points), strict=True):
        record = records[place]
        assert isinstance(record, Train)
        records[place] = replace(record, learning_rate=form.peak * 0.1 ** sum(at >= cut for cut in cuts))
    return Log(records)


def warm_restarts(rng: Rng) -> Log:
    form = shape(rng, noise=rng.choice([0.02, 0.05]), schedule="constant")
    period = form.points // rng.choice([3, 4, 5])
    bump = rng.uniform(0.1, 0.3)
    records = run(
        rng, form, level=lambda at: form.level(at) * (1.0 + bump * (1 - (at % period) / period) * (at >= period))
    )
    for place, at in zip(trains(records), range(form.points), strict=True):
        rate = form.peak * 0.5 * (1 + math.cos(math.pi * (at % period) / period))
        records[place] = replace(records[place], learning_rate=rate)  # type: ignore[call-arg]
    return Log(records)


def epoch_sawtooth(rng: Rng) -> Log:
    """Fine-tuning over several epochs: the train loss falls at each epoch's start and creeps up within it."""
    form = shape(rng, noise=rng.choice([0.03, 0.08]))
    epoch = form.points // rng.choice([3, 5])
    return Log(
        run(rng, form, level=lambda at: form.level(at) * 0.8 ** (at // epoch) * (1.0 + 0.1 * (at % epoch) / epoch)),
        form.plan(),
    )


def huge_first_gradients(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    for place in trains(records)[: rng.randint(1, 6)]:
        records[place] = scaled(records[place], norm=rng.uniform(20, 2000))
    return Log(records, form.plan())


def scaler_skips(rng: Rng) -> Log:
    """fp16: a few infinite gradient norms at the start while the scale is found, single ones later, all skipped."""
    form = shape(rng)
    records = run(rng, form)
    places = trains(records)
    for place in [*places[: rng.randint(1, 4)], *rng.sample(places[20:], max(1, form.points // 100))]:
        step = records[place].step  # type: ignore[union-attr]
        more = {
            "grad_norm": math.inf,
            "grad_norm_max": None,
            "nonfinite": 1,
            "nonfinite_step": step,
            "nonfinite_what": "grad_norm",
            "skipped": 1,
        }
        records[place] = replace(records[place], **more)  # type: ignore[arg-type]
    return Log(records, form.plan())


def flat_tail(rng: Rng) -> Log:
    form = shape(rng, schedule="constant", power=2.0)
    return Log(run(rng, form), form.plan())


def augmentation_off_at_the_end(rng: Rng) -> Log:
    form = shape(rng)
    off = int(0.9 * form.points)
    records = run(rng, form, evals=30, level=lambda at: form.level(at) * (0.6 if at >= off else 1.0))
    return Log(
        validated(records, lambda share: form.level(int(share * form.points)) * math.exp(rng.gauss(0, 0.01))),
        form.plan(),
    )


def wobbling_validation(rng: Rng) -> Log:
    form = shape(rng)
    wobble = rng.uniform(0.02, 0.1)
    low = form.start * 0.5
    records = run(rng, form, evals=rng.choice([10, 20, 40]))
    return Log(
        validated(records, lambda share: (low + low * math.exp(-8 * share)) * math.exp(rng.gauss(0, wobble))),
        form.plan(),
    )


def settled_validation_with_a_gap(rng: Rng) -> Log:
    """Train goes far below a validation loss that has settled and stays."""
    form = shape(rng, power=1.2)
    low = form.start * 0.6
    records = run(rng, form, evals=25)
    return Log(
        validated(records, lambda share: (low + low * math.exp(-10 * share)) * math.exp(rng.gauss(0, 0.004))),
        form.plan(),
    )


def infinite_first_validation(rng: Rng) -> Log:
    form = shape(rng, warmup=0.1)
    records = run(rng, form, evals=30)
    first = next(place for place, record in enumerate(records) if isinstance(record, Eval))
    records[first] = replace(records[first], loss=math.inf)  # type: ignore[call-arg]
    return Log(records, form.plan())


def resumed_with_repeated_steps(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    cut = int(len(records) * rng.uniform(0.4, 0.8))
    back = rng.randint(5, max(6, cut // 4))
    again = [replace(record, loss=record.loss * math.exp(rng.gauss(0, 0.01))) for record in records[cut - back : cut]]  # type: ignore[union-attr,call-arg]
    started = Started(
        0.0, 0.0, "pytorch", "cpu", "fp32", form.points * form.every, 100, 1000, 100, 10, step=records[cut - back].step
    )  # type: ignore[union-attr]
    return Log([*records[:cut], started, *again, *records[cut:]], form.plan())


def long_warmup(rng: Rng) -> Log:
    """The loss hardly moves before the rate has grown."""
    form = shape(rng, warmup=0.2, points=rng.choice([200, 400]))
    wait = int(0.12 * form.points)
    return Log(run(rng, form, level=lambda at: form.level(max(0, at - wait))), form.plan())


def negative_loss(rng: Rng) -> Log:
    """A log-likelihood that goes through zero."""
    form = shape(rng)
    high, low = rng.uniform(0.5, 5.0), -rng.uniform(1.0, 20.0)
    wide = 0.02 * (high - low)
    records = run(rng, form, evals=0)
    for at, place in enumerate(trains(records)):
        loss = low + (high - low) * math.exp(-6 * at / form.points) + rng.gauss(0, wide)
        records[place] = replace(records[place], loss=loss, loss_max=loss, loss_min=loss)  # type: ignore[call-arg]
    return Log(records, form.plan())


def late_take_off(rng: Rng) -> Log:
    """Flat for the first tenth, then it learns."""
    form = shape(rng, points=rng.choice([200, 400]), schedule="constant", warmup=0.0)
    wait = int(0.1 * form.points)
    return Log(run(rng, form, level=lambda at: form.level(max(0, at - wait))), form.plan())


def gentle_fine_tune(rng: Rng) -> Log:
    """A pretrained model: the loss falls by a fifth in all, under noise of a tenth."""
    form = shape(rng, noise=0.1, start=1.6, floor=1.1, points=rng.choice([150, 400, 1000]))
    return Log(run(rng, form), form.plan())


def few_points(rng: Rng) -> Log:
    form = shape(rng, points=rng.randint(5, 25), noise=rng.choice([0.02, 0.1]))
    return Log(run(rng, form, evals=5))


def windows_of_noisy_steps(rng: Rng) -> Log:
    """Our own records: each holds the mean and the extremes of many noisy steps."""
    form = shape(rng, noise=0.3, every=20)
    records = run(rng, form)
    for at, place in enumerate(trains(records)):
        steps = [form.level(at) * math.exp(rng.gauss(0, 0.3)) for _ in range(20)]
        high, low = max(steps), min(steps)
        more = {
            "loss": sum(steps) / 20,
            "loss_max": high,
            "loss_min": low,
            "loss_max_step": records[place].step - steps.index(high),
        }  # type: ignore[union-attr]
        records[place] = replace(records[place], **more)  # type: ignore[arg-type]
    return Log(records, form.plan())


def mixture_of_tasks(rng: Rng) -> Log:
    """Batches of two tasks whose losses differ by a factor."""
    form = shape(rng, noise=0.05)
    factor, share = rng.uniform(1.5, 4.0), rng.uniform(0.3, 0.5)
    return Log(
        run(rng, form, lambda rng: math.exp(rng.gauss(0, 0.05)) * (factor if rng.random() < share else 1.0)),
        form.plan(),
    )


def long_and_slow(rng: Rng) -> Log:
    form = shape(rng, points=4000, power=0.3, noise=0.05)
    return Log(run(rng, form, evals=40), form.plan())


KINDS: tuple[Callable[[Rng], Log], ...] = (
    planned_cosine_end,
    cosine_end_without_a_plan,
    linear_end_without_a_plan,
    noisy_small_batches,
    gamma_small_batches,
    heavy_tails_near_zero,
    heavy_tailed_batches,
    step_decays,
    warm_restarts,
    epoch_sawtooth,
    huge_first_gradients,
    scaler_skips,
    flat_tail,
    augmentation_off_at_the_end,
    wobbling_validation,
    settled_validation_with_a_gap,
    infinite_first_validation,
    resumed_with_repeated_steps,
    long_warmup,
    negative_loss,
    late_take_off,
    gentle_fine_tune,
    few_points,
    windows_of_noisy_steps,
    mixture_of_tasks,
    long_and_slow,
)
