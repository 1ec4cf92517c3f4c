"""A small training loop on scikit-learn's digits whose every part can be broken: what `real.py` makes its runs with."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stationmaster_trainer.contract import Note, Record, RulePlan

from .shapes import evaluation, train

Step = Callable[[int], float]


@dataclass
class Recipe:
    """A training, sound unless something is replaced."""

    seed: int
    steps: int = 300
    batch: int = 32
    rate: float = 3e-3
    schedule: str = "cosine"
    factor: Step = lambda step: 1.0
    """Multiplies the scheduled rate at a step."""
    sgd: bool = False
    samples: int = 1400
    every: int = 25
    """Steps between validations; facts about the layers are noted at the first step and at some of them."""
    model: Callable[[], Any] | None = None
    trained: Callable[[Any], list[Any]] = lambda model: list(model.parameters())
    """Parameters that the optimizer is given."""
    inputs: Callable[[int, Any], Any] = lambda step, inputs: inputs
    labels: Callable[[int, Any], Any] = lambda step, labels: labels
    loss: Callable[[Any, Any], Any] | None = None
    spoil: Callable[[int, Any, Any], Any] = lambda step, loss, model: loss
    """Gets the loss before backward; may do something to the model."""
    zero_grad: bool = True
    weight_decay: float = 0.01
    scale: float = 1.0 / 16.0
    """Multiplies the pixels, which are 0 to 16."""
    regression: bool = False
    """Reconstruct the inputs (mean squared error) instead of naming the digit."""
    plan: dict[str, Any] = field(default_factory=dict)


def mlp(*widths: int, activation: str = "ReLU", dropout: float = 0.0) -> Callable[[], Any]:
    def build() -> Any:
        from torch import nn

        layers: list[Any] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), getattr(nn, activation)(), nn.Dropout(dropout)]
        return nn.Sequential(*layers[:-2])

    return build


def plan_of(recipe: Recipe) -> RulePlan:
    return RulePlan(
        total_steps=recipe.steps,
        warmup_steps=0 if recipe.schedule == "constant" else recipe.steps // 20,
        lr_schedule=recipe.schedule,
        peak_learning_rate=recipe.rate,
        classes=None if recipe.regression else 10,
        has_validation=True,
        samples_per_step=recipe.batch,
        **recipe.plan,
    )


def trained(recipe: Recipe) -> list[Record]:
    """The records of the run: one a step, the validations between, the facts about the layers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _trained(recipe)
    finally:
        torch.set_num_threads(threads)


def _trained(recipe: Recipe) -> list[Record]:
    import torch

    from stationmaster_trainer.adapters._torch_probe import Probe
    from stationmaster_trainer.schedule import learning_rate_at

    plan, loss_of = plan_of(recipe), recipe.loss or _loss(recipe)
    (inputs, labels), (val_inputs, val_labels) = _digits(recipe)
    torch.manual_seed(recipe.seed)
    model = (recipe.model or mlp(64, 64, 64, 64 if recipe.regression else 10))()
    chosen = recipe.trained(model)
    optimizer: Any = torch.optim.AdamW(chosen, lr=1.0, weight_decay=recipe.weight_decay)
    if recipe.sgd:
        optimizer = torch.optim.SGD(chosen, lr=1.0, momentum=0.9)
    order = torch.Generator().manual_seed(recipe.seed)
    records: list[Record] = []
    for step in range(1, recipe.steps + 1):
        rows = torch.randint(0, len(inputs), (min(recipe.batch, len(inputs)),), generator=order)
        rate = recipe.rate * recipe.factor(step)
        if plan.lr_schedule != "constant":
            rate = recipe.factor(step) * learning_rate_at(
                step, peak=recipe.rate, warmup_steps=plan.warmup_steps or 0, total_steps=recipe.steps
            )
        optimizer.param_groups[0]["lr"] = rate
        if recipe.zero_grad:
            optimizer.zero_grad()
        model.train()
        batch = recipe.inputs(step, inputs[rows])
        loss = recipe.spoil(step, loss_of(model(batch), recipe.labels(step, labels[rows])), model)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e30))
        probing = step == 1 or (step % recipe.every == 0 and (step // recipe.every) & (step // recipe.every - 1) == 0)
        probe = Probe([(name, one) for name, one in model.named_parameters() if one.requires_grad]) if probing else None
        optimizer.step()
        value = float(loss.detach())
        records.append(train(step, value, norm, rate, window_samples=len(rows)))
        if probe is not None and math.isfinite(value):
            records.append(_note(step, probe.facts(), value if step == 1 else None, recipe))
        if step % recipe.every == 0:
            records.append(_validated(model, loss_of, val_inputs, val_labels, step))
    return records


def _loss(recipe: Recipe) -> Callable[[Any, Any], Any]:
    from torch.nn import functional

    return functional.mse_loss if recipe.regression else functional.cross_entropy


def _digits(recipe: Recipe) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """((inputs, labels), (validation inputs, labels)); inputs (n, 64) as float32."""
    import torch
    from sklearn.datasets import load_digits

    found = load_digits()
    order = list(range(len(found.target)))
    random.Random(recipe.seed).shuffle(order)
    inputs = torch.tensor(found.data[order] * recipe.scale, dtype=torch.float32)
    labels = inputs if recipe.regression else torch.tensor(found.target[order])
    return (inputs[: recipe.samples], labels[: recipe.samples]), (inputs[1400:], labels[1400:])


def _validated(model: Any, loss_of: Callable[[Any, Any], Any], inputs: Any, labels: Any, step: int) -> Record:
    import torch

    model.eval()
    with torch.no_grad():
        return evaluation(step, float(loss_of(model(inputs), labels)))


def _note(step: int, facts: dict[str, Any], first: float | None, recipe: Recipe) -> Record:
    if first is not None and not recipe.regression:
        facts |= {"initial_loss": first, "expected_loss": math.log(10)}
    return Note(time=0.0, elapsed=0.0, step=step, message="updates and gradients by layer", facts=facts)
