"""Made logs whose truth is known: healthy runs that look alarming and runs with one fault each, from a seed.

Each kind is a function of a random generator; its docstring-like name says what it is. Nothing here comes from a real
log. The shapes (power laws, multiplicative noise, heavy tails, schedules) are the usual ones; sizes, lengths and
noise are drawn anew for every seed, so that no threshold can be tuned to one of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stationmaster_trainer.contract import Eval, Record, RulePlan, Started, Train

Rng = random.Random


@dataclass
class Log:
    """One made log and what is true of it."""

    records: list[Record]
    plan: RulePlan = field(default_factory=RulePlan)
    fault: str = ""
    """Class of the fault; empty for a healthy run."""
    visible: int = 0
    """Index of the record at which the fault can first be seen."""


@dataclass
class Shape:
    """A run before it gets a fault. All numbers per logged point."""

    points: int
    every: int
    start: float
    floor: float
    power: float
    noise: float
    peak: float
    schedule: str
    warmup: float

    def level(self, at: int) -> float:
        """Expected loss at point `at`: a power law from start to floor."""
        return self.floor + (self.start - self.floor) * (1.0 + 60.0 * at / self.points) ** -self.power

    def rate(self, at: int) -> float:
        done = at / self.points
        if done < self.warmup:
            return self.peak * (at + 1) / (self.warmup * self.points + 1)
        done = (done - self.warmup) / (1.0 - self.warmup)
        return (
            self.peak
            * {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[self.schedule]
        )

    def plan(self) -> RulePlan:
        return RulePlan(
            total_steps=self.points * self.every,
            warmup_steps=int(self.warmup * self.points * self.every),
            lr_schedule=self.schedule,
            peak_learning_rate=self.peak,
            has_validation=True,
        )


def shape(rng: Rng, **given: float | str) -> Shape:
    start = rng.choice([2.3, 10.8, 1.0, 0.7, 250.0, 4.6])
    drawn = Shape(
        points=rng.choice([120, 200, 400, 800, 1500]),
        every=rng.choice([1, 10, 50]),
        start=start,
        floor=start * rng.uniform(0.05, 0.4),
        power=rng.uniform(0.4, 1.2),
        noise=rng.choice([0.01, 0.03, 0.08, 0.15]),
        peak=10 ** rng.uniform(-5, -1),
        schedule=rng.choice(["cosine", "linear", "constant"]),
        warmup=rng.choice([0.0, 0.02, 0.1]),
    )
    return replace(drawn, **given)  # type: ignore[arg-type]


Noise = Callable[[Rng], float]


def lognormal(sigma: float) -> Noise:
    return lambda rng: math.exp(rng.gauss(0.0, sigma))


def heavy(sigma: float, freedom: int = 4) -> Noise:
    """Student's t with a few degrees of freedom, in the logarithm."""
    half = freedom / 2.0
    return lambda rng: math.exp(sigma * rng.gauss(0, 1) / math.sqrt(rng.gammavariate(half, 1.0 / half)))


def run(
    rng: Rng,
    form: Shape,
    noise: Noise | None = None,
    evals: int = 15,
    gap: float = 0.03,
    level: Callable[[int], float] | None = None,
) -> list[Record]:
    """Train records of the shape with `evals` validations between them; validation lies `gap` above and has a tenth
    of the noise."""
    noise, level = noise or lognormal(form.noise), level or form.level
    records: list[Record] = []
    between = max(1, form.points // max(1, evals))
    scale = rng.uniform(0.3, 3.0)
    for at in range(form.points):
        norm = scale * (1.0 + 4.0 * math.exp(-at / (0.03 * form.points + 3))) * math.exp(rng.gauss(0, 0.25))
        records.append(train((at + 1) * form.every, level(at) * noise(rng), norm, form.rate(at), form.every))
        if evals and at % between == between - 1:
            value = level(at) * (1.0 + gap) * math.exp(rng.gauss(0.0, 0.1 * form.noise))
            records.append(evaluation((at + 1) * form.every, value))
    return records


def train(
    step: int, loss: float, norm: float | None = None, rate: float = 1e-3, steps: int = 1, **more: object
) -> Train:
    """A record of a log that has one number per row: mean and extremes are the same."""
    fields = {
        "loss_max": loss,
        "loss_min": loss,
        "grad_norm": norm,
        "grad_norm_max": norm,
        "learning_rate": rate,
        "steps": steps,
    }
    fields |= {"time": 0.0, "elapsed": 0.0, "epoch": 0.0, "samples": 0, "samples_per_second": 100.0}
    return Train(step=step, loss=loss, **{**fields, **more})  # type: ignore[arg-type]


def evaluation(step: int, loss: float, sem: float | None = None) -> Eval:
    return Eval(time=0.0, elapsed=0.0, step=step, loss=loss, metrics={}, samples=1000, seconds=1.0, loss_sem=sem)


def trains(records: list[Record]) -> list[int]:
    """Places of the train records."""
    return [place for place, record in enumerate(records) if isinstance(record, Train)]


def scaled(record: Record, loss: float = 1.0, norm: float = 1.0) -> Train:
    assert isinstance(record, Train)
    return replace(
        record,
        loss=record.loss * loss,
        loss_max=record.loss_max * loss,
        loss_min=record.loss_min * loss,
        grad_norm=None if record.grad_norm is None else record.grad_norm * norm,
        grad_norm_max=None if record.grad_norm_max is None else record.grad_norm_max * norm,
    )


# --- healthy
# -----------------------------------------------------------------------------------------------------------


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
        _validation(records, lambda share: form.level(int(share * form.points)) * math.exp(rng.gauss(0, 0.01))),
        form.plan(),
    )


def wobbling_validation(rng: Rng) -> Log:
    form = shape(rng)
    wobble = rng.uniform(0.02, 0.1)
    low = form.start * 0.5
    records = run(rng, form, evals=rng.choice([10, 20, 40]))
    return Log(
        _validation(records, lambda share: (low + low * math.exp(-8 * share)) * math.exp(rng.gauss(0, wobble))),
        form.plan(),
    )


def settled_validation_with_a_gap(rng: Rng) -> Log:
    """Train goes far below a validation loss that has settled and stays."""
    form = shape(rng, power=1.2)
    low = form.start * 0.6
    records = run(rng, form, evals=25)
    return Log(
        _validation(records, lambda share: (low + low * math.exp(-10 * share)) * math.exp(rng.gauss(0, 0.004))),
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


# --- faults
# ------------------------------------------------------------------------------------------------------------


def _validation(records: list[Record], value: Callable[[float], float]) -> list[Record]:
    """The records with validation losses replaced by a function of the share of the run that is done."""
    last = max(record.step for record in records)  # type: ignore[union-attr]
    return [
        replace(record, loss=value(record.step / last)) if isinstance(record, Eval) else record  # type: ignore[union-attr]
        for record in records
    ]


def _middle(rng: Rng, records: list[Record], low: float = 0.2, high: float = 0.9) -> int:
    places = trains(records)
    return places[int(len(places) * rng.uniform(low, high))]


def _broken(record: Record) -> Train:
    assert isinstance(record, Train)
    more = {
        "loss": math.nan,
        "loss_max": math.nan,
        "loss_min": math.nan,
        "nonfinite": record.steps,
        "nonfinite_step": record.step,
    }
    return replace(record, **more, nonfinite_what="loss")  # type: ignore[arg-type]


def nan_from_a_step_on(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    at = _middle(rng, records)
    records[at:] = [_broken(r) if isinstance(r, Train) else replace(r, loss=math.nan) for r in records[at:]]  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_in_one_record(rng: Rng) -> Log:
    records = run(rng, shape(rng))
    at = _middle(rng, records)
    records[at] = replace(records[at], loss=math.nan, loss_max=math.nan, loss_min=math.nan)  # type: ignore[call-arg]
    return Log(records, RulePlan(), "nan", at)


def nan_inside_a_window(rng: Rng) -> Log:
    form = shape(rng, every=50)
    records = run(rng, form)
    at = _middle(rng, records)
    step = records[at].step - rng.randint(0, 49)  # type: ignore[union-attr]
    records[at] = replace(records[at], nonfinite=1, nonfinite_step=step, nonfinite_what="loss")  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_from_the_first_record(rng: Rng) -> Log:
    records = run(rng, shape(rng, points=60), evals=3)
    return Log([_broken(r) if isinstance(r, Train) else r for r in records], RulePlan(), "nan", 0)


def infinite_loss(rng: Rng) -> Log:
    records = run(rng, shape(rng))
    at = _middle(rng, records)
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
    at = _middle(rng, records, 0.2, 0.7)
    for place in [place for place in trains(records) if place >= at]:
        records[place] = replace(records[place], grad_norm=math.nan, grad_norm_max=None)  # type: ignore[call-arg]
    return Log(records, form.plan(), "nan", at)


def nan_gradient_that_was_applied(rng: Rng) -> Log:
    form = shape(rng)
    records = run(rng, form)
    at = _middle(rng, records)
    more = {"nonfinite": 1, "nonfinite_step": records[at].step, "nonfinite_what": "grad_norm", "skipped": 0}  # type: ignore[union-attr]
    records[at] = replace(records[at], **more)  # type: ignore[arg-type]
    return Log(records, form.plan(), "nan", at)


def _spike(
    rng: Rng, factor: Callable[[], float], width: int, low: float = 0.2, high: float = 0.95, **given: float
) -> Log:
    form = shape(rng, **{"noise": rng.choice([0.01, 0.03, 0.08]), **given})
    records = run(rng, form)
    at = _middle(rng, records, low, high)
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
    at = _middle(rng, log.records)
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
    at = _middle(rng, records)
    record = records[at]
    assert isinstance(record, Train) and record.grad_norm
    high = record.grad_norm * rng.uniform(50, 500)
    more = {"grad_norm": record.grad_norm + high / 50, "grad_norm_max": high, "grad_norm_max_step": record.step - 9}
    records[at] = replace(record, **more)  # type: ignore[arg-type]
    return Log(records, form.plan(), "gradspike", at)


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

    records = _validation(run(rng, form, evals=evals), value)
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


HEALTHY: tuple[Callable[[Rng], Log], ...] = (
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
FAULTY: tuple[Callable[[Rng], Log], ...] = (
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
    rate_collapses_early,
    rate_zero_from_the_middle,
    schedule_stepped_too_often,
    schedule_shorter_than_the_run,
)


def make(kind: Callable[[Rng], Log], seed: int) -> Log:
    """The log of a kind and a seed; the same on every machine."""
    return kind(Rng(f"{kind.__name__} {seed}"))
