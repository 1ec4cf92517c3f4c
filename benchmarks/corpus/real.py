"""Real trainings on scikit-learn's digits: sound ones, and ones with a fault in the code, the data or the settings.

Each takes under a second; they are kept in the temporary folder of the system, by the content of these files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.contract import Eval, Record, RulePlan, Train

from ._training import Recipe, mlp, plan_of, trained
from .shapes import Log, Rng

BREAK = 150
"""Step at which faults that come in mid-run begin."""


def _log(recipe: Recipe, fault: str = "", visible: int = 0) -> Log:
    """`visible`: the step from which the fault can be seen; 0 for the whole run, -1 where the loss itself tells."""
    records = trained(recipe)
    if visible < 0:
        return Log(records, plan_of(recipe), fault, _risen(records))
    at = next(place for place, record in enumerate(records) if isinstance(record, Train) and record.step >= visible)
    return Log(records, plan_of(recipe), fault, at)


def _risen(records: list[Record]) -> int:
    """Place of the first train record that is not finite, or whose last ten average 1.6 times the lowest ten before."""
    lowest, newest = math.inf, list[float]()
    for place, record in enumerate(records):
        if isinstance(record, Train):
            newest = [*newest[-9:], record.loss]
            level = sum(newest) / len(newest)
            if not level <= 1.6 * lowest and len(newest) == 10:
                return place
            lowest = min(lowest, level) if len(newest) == 10 else lowest
    return 0


# --- sound


def real_digits(rng: Rng) -> Log:
    return _log(Recipe(rng.randrange(10**6), batch=rng.choice([32, 64]), rate=10 ** rng.uniform(-3, -2.3)))


def real_small_batches(rng: Rng) -> Log:
    return _log(Recipe(rng.randrange(10**6), steps=1000, batch=rng.choice([2, 4, 8]), rate=1e-3, every=100))


def real_momentum(rng: Rng) -> Log:
    return _log(Recipe(rng.randrange(10**6), sgd=True, rate=rng.uniform(0.02, 0.1), schedule="constant"))


def real_fit_to_nothing(rng: Rng) -> Log:
    """Long after every digit is learnt: losses of a thousandth, at a constant rate."""
    return _log(Recipe(rng.randrange(10**6), steps=800, batch=64, schedule="constant", rate=1e-3, every=100))


def real_dropout(rng: Rng) -> Log:
    recipe = Recipe(rng.randrange(10**6), steps=500, model=mlp(64, 128, 128, 10, dropout=rng.uniform(0.2, 0.5)))
    return _log(recipe)


def real_autoencoder(rng: Rng) -> Log:
    return _log(
        Recipe(rng.randrange(10**6), regression=True, model=mlp(64, 32, 8, 32, 64, activation="Tanh"), steps=500)
    )


def real_sigmoid(rng: Rng) -> Log:
    """It takes off late: saturating units, but only two layers of them."""
    return _log(Recipe(rng.randrange(10**6), model=mlp(64, 64, 64, 10, activation="Sigmoid"), steps=500, rate=1e-2))


# --- faulty


def real_rate_raised_too_far(rng: Rng) -> Log:
    factor = rng.uniform(100, 300)
    recipe = Recipe(
        rng.randrange(10**6), sgd=True, rate=0.05, schedule="constant", factor=lambda s: factor if s >= BREAK else 1.0
    )
    return _log(recipe, "breakdown", -1)


def real_sign_of_the_step(rng: Rng) -> Log:
    """The optimizer climbs."""
    recipe = Recipe(rng.randrange(10**6), sgd=True, rate=rng.uniform(0.01, 0.05), schedule="constant")
    recipe.spoil = lambda step, loss, model: loss * 1.0 - 2.0 * (loss - loss.detach())
    return _log(recipe, "breakdown", -1)


def real_gradients_never_cleared(rng: Rng) -> Log:
    recipe = Recipe(rng.randrange(10**6), sgd=True, rate=rng.uniform(0.05, 0.2), schedule="constant", zero_grad=False)
    return _log(recipe, "breakdown", -1)


def real_shuffled_labels(rng: Rng) -> Log:
    """Labels that do not belong to their inputs, anew in every batch."""
    recipe = Recipe(rng.randrange(10**6), labels=lambda step, labels: labels[_order(len(labels))], batch=64, rate=1e-3)
    return _log(recipe, "no_learning", 50)


def real_output_not_connected(rng: Rng) -> Log:
    """The wrong variable is trained on: the network sees noise instead of its inputs."""

    def noise(step: int, inputs: Any) -> Any:
        import torch

        return torch.rand_like(inputs)

    return _log(Recipe(rng.randrange(10**6), inputs=noise, rate=1e-3, batch=64), "no_learning", 50)


def real_rate_far_too_low(rng: Rng) -> Log:
    return _log(Recipe(rng.randrange(10**6), rate=10 ** rng.uniform(-9, -7.5)), "no_learning", 50)


def real_only_the_last_layer(rng: Rng) -> Log:
    """The optimizer was given the head alone."""
    return _log(Recipe(rng.randrange(10**6), trained=lambda model: list(model[-1].parameters())), "frozen", 25)


def real_nan_in_one_row(rng: Rng) -> Log:
    """One cell is empty; the batch that holds it makes every weight NaN."""

    def broken(step: int, inputs: Any) -> Any:
        if step == BREAK:
            inputs = inputs.clone()
            inputs[0, 5] = math.nan
        return inputs

    return _log(Recipe(rng.randrange(10**6), inputs=broken), "nan", BREAK)


def real_infinite_loss(rng: Rng) -> Log:
    def overflow(step: int, loss: Any, model: Any) -> Any:
        return loss * math.inf if step == BREAK else loss

    return _log(Recipe(rng.randrange(10**6), spoil=overflow), "nan", BREAK)


def real_bad_batch(rng: Rng) -> Log:
    """One batch was never scaled."""
    factor = rng.uniform(50, 500)
    recipe = Recipe(rng.randrange(10**6), inputs=lambda step, inputs: inputs * (factor if step == BREAK else 1.0))
    return _log(recipe, "spike", BREAK)


def real_weights_hit(rng: Rng) -> Log:
    """A cosmic ray, or a checkpoint loaded half."""

    def hit(step: int, loss: Any, model: Any) -> Any:
        if step == BREAK:
            model[-1].weight.data.mul_(-rng.uniform(5, 30))
        return loss

    return _log(Recipe(rng.randrange(10**6), spoil=hit), "spike", BREAK + 1)


def real_gradient_a_thousandfold(rng: Rng) -> Log:
    def heavy(step: int, loss: Any, model: Any) -> Any:
        return loss + 3000.0 * (loss - loss.detach()) if step == BREAK else loss

    return _log(Recipe(rng.randrange(10**6), spoil=heavy), "gradspike", BREAK)


def real_tiny_set(rng: Rng) -> Log:
    recipe = Recipe(rng.randrange(10**6), samples=40, batch=40, steps=800, every=25, rate=3e-3, weight_decay=0.0)
    recipe.model = mlp(64, 128, 128, 10)
    log = _log(recipe, "overfit")
    values = [(record.loss, place) for place, record in enumerate(log.records) if isinstance(record, Eval)]
    lowest = min(range(len(values)), key=lambda at: values[at])
    log.visible = values[min(lowest + 3, len(values) - 1)][1]
    return log


def real_scheduler_stepped_too_often(rng: Rng) -> Log:
    """Four times a step: the rate is used up after a quarter of the run."""
    from stationmaster_trainer.schedule import learning_rate_at as planned

    def rate(step: int) -> float:
        given = {"peak": 1.0, "warmup_steps": 15, "total_steps": 300}
        return planned(min(4 * step, 300), **given) / max(planned(step, **given), 1e-12)  # type: ignore[arg-type]

    return _log(Recipe(rng.randrange(10**6), factor=rate), "lr", 75)


def real_inputs_not_scaled(rng: Rng) -> Log:
    return _log(Recipe(rng.randrange(10**6), scale=rng.uniform(100, 1000)), "initial", 1)


def real_dead_units(rng: Rng) -> Log:
    """A bias far below zero has switched the second layer off."""

    def build() -> Any:
        model = mlp(64, 64, 64, 10)()
        model[3].bias.data.sub_(rng.uniform(10, 20))
        return model

    return _log(Recipe(rng.randrange(10**6), model=build, rate=1e-3), "dead", 25)


def real_vanishing_gradient(rng: Rng) -> Log:
    """Fourteen layers of sigmoids."""
    recipe = Recipe(rng.randrange(10**6), model=mlp(64, *[32] * 14, 10, activation="Sigmoid"), rate=1e-3)
    return _log(recipe, "vanishing", 25)


def _order(count: int) -> Any:
    import torch

    return torch.randperm(count)


def cached(kind: Callable[[Rng], Log], seed: int) -> Log:
    """The run of a kind and a seed, from the temporary folder when it was trained before."""
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("real.py", "_training.py", "shapes.py"))
    folder = Path(tempfile.gettempdir()) / f"stationmaster-corpus-{hashlib.sha256(sources).hexdigest()[:12]}"
    path = folder / f"{kind.__name__}-{seed}.jsonl"
    if path.exists():
        return _read(path)
    log = kind(Rng(f"{kind.__name__} {seed}"))
    folder.mkdir(exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    head = codec.dumps({"plan": log.plan, "fault": log.fault, "visible": log.visible}).encode() + b"\n"
    part.write_bytes(head + b"".join(codec.line(record) for record in log.records))
    part.replace(path)
    return log


def _read(path: Path) -> Log:
    first, *lines = path.read_bytes().splitlines()
    head = json.loads(first)
    records: list[Record] = [record for line in lines if (record := codec.record(line)) is not None]
    return Log(records, codec.from_plain(RulePlan, head["plan"]), head["fault"], head["visible"])


HEALTHY: tuple[Callable[[Rng], Log], ...] = (
    real_digits,
    real_small_batches,
    real_momentum,
    real_fit_to_nothing,
    real_dropout,
    real_autoencoder,
    real_sigmoid,
)
FAULTY: tuple[Callable[[Rng], Log], ...] = (
    real_rate_raised_too_far,
    real_sign_of_the_step,
    real_gradients_never_cleared,
    real_shuffled_labels,
    real_output_not_connected,
    real_rate_far_too_low,
    real_only_the_last_layer,
    real_nan_in_one_row,
    real_infinite_loss,
    real_bad_batch,
    real_weights_hit,
    real_gradient_a_thousandfold,
    real_tiny_set,
    real_scheduler_stepped_too_often,
    real_inputs_not_scaled,
    real_dead_units,
    real_vanishing_gradient,
)
