"""Real PyTorch runs, made to fail in the five ways of the checklist, and sound ones: every step is trained, nothing
is made up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from courses import evaluation, judge_of, named, rules_of, train
from torch import Tensor, nn

from stationmaster_trainer.contract import Record, RulePlan
from stationmaster_trainer.schedule import learning_rate_at


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spirals(count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Three interleaved spirals: (count, 2) inputs, labels."""
    made = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=made)
    radius = torch.rand(count, generator=made)
    angle = 4.0 * radius + labels * 2.0 * math.pi / 3.0 + noise * torch.randn(count, generator=made)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels


def net(hidden: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def run(
    steps: int,
    *,
    samples: int = 600,
    noise: float = 0.2,
    batch: int = 32,
    rate: Callable[[int], float] = lambda step: 3e-3,
    spoil: Callable[[int, Tensor, nn.Module], Tensor] | None = None,
    validate_every: int = 0,
    hidden: int = 64,
    sgd: bool = False,
) -> list[Record]:
    """Trains and returns one record a step, with validations on other samples of the same spirals."""
    inputs, labels = spirals(samples, noise, 1)
    val_inputs, val_labels = spirals(1000, noise, 2)
    model = net(hidden)
    optimizer: Any = (
        torch.optim.SGD(model.parameters(), lr=0.1) if sgd else torch.optim.AdamW(model.parameters(), lr=1e-3)
    )
    order = torch.Generator().manual_seed(3)
    records: list[Record] = []
    for step in range(1, steps + 1):
        rows = torch.randint(0, samples, (min(batch, samples),), generator=order)
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
        loss = loss if spoil is None else spoil(step, loss, model)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1e9))
        optimizer.step()
        records.append(train(step, loss.item(), norm, rate(step)))
        if validate_every and step % validate_every == 0:
            with torch.no_grad():
                losses = nn.functional.cross_entropy(model(val_inputs), val_labels, reduction="none")
            records.append(evaluation(step, float(losses.mean()), float(losses.std()) / math.sqrt(len(losses))))
    return records


def test_a_sound_run_of_small_batches_is_silent_where_the_literal_rule_cries_wolf() -> None:
    plan = RulePlan(
        total_steps=3000, warmup_steps=300, lr_schedule="cosine", peak_learning_rate=3e-3, has_validation=True
    )

    def rate(step: int) -> float:
        return learning_rate_at(step, peak=3e-3, warmup_steps=300, total_steps=3000)

    records = run(3000, batch=4, rate=rate, validate_every=300)
    judge = judge_of(records, plan)
    judge.finish()
    assert rules_of(judge) == set()
    losses = [record.loss for record in records if record.kind == "train"]
    literal = sum(loss > 2.0 * sum(losses[at - 20 : at]) / 20 for at, loss in enumerate(losses) if at >= 20)
    assert literal > 0.05 * len(losses)


def test_a_loss_that_becomes_nan_is_critical_from_its_step_on() -> None:
    def overflow(step: int, loss: Tensor, model: nn.Module) -> Tensor:
        return loss * (torch.tensor(math.inf) * 0.0) if step >= 150 else loss

    judge = judge_of(run(200, spoil=overflow))
    first = next(alert for alert in judge.alerts() if alert.series == "train/loss")
    assert (first.rule, first.severity, first.first_step) == ("non_finite", "critical", 150)


def test_weights_that_are_hit_once_make_a_loss_spike() -> None:
    def hit(step: int, loss: Tensor, model: Any) -> Tensor:
        if step == 299:
            model[4].weight.register_post_accumulate_grad_hook(overwrite)
        return loss

    def overwrite(weight: Tensor) -> None:
        if not hits:
            hits.append(1)
            with torch.no_grad():
                weight.mul_(-20.0)

    hits: list[int] = []
    judge = judge_of(run(400, batch=128, spoil=hit))
    spikes = named(judge, "loss_spike")
    assert spikes and spikes[0].first_step == 300


def test_one_batch_with_a_loss_thousandfold_makes_a_gradient_spike() -> None:
    judge = judge_of(run(300, batch=128, spoil=lambda step, loss, model: loss * (1000.0 if step == 250 else 1.0)))
    assert named(judge, "grad_norm_spike")[0].first_step == 250


def test_a_rate_far_too_high_is_noticed() -> None:
    records = run(400, sgd=True, rate=lambda step: 0.05 if step < 150 else 300.0)
    found = rules_of(judge_of(records))
    assert found & {"loss_spike", "divergence", "non_finite"}


def test_a_tiny_training_set_is_overfitted_and_the_best_step_is_named() -> None:
    records = run(1500, samples=24, noise=0.6, batch=24, hidden=128, validate_every=50)
    judge = judge_of(records)
    (alert,) = named(judge, "overfitting")
    values = {record.step: record.loss for record in records if record.kind == "eval"}
    assert alert.open and alert.seen["best_step"] == min(values, key=lambda step: values[step])


def test_training_behind_the_end_of_the_schedule_is_told() -> None:
    plan = RulePlan(total_steps=200, warmup_steps=20, lr_schedule="cosine", peak_learning_rate=3e-3)

    def rate(step: int) -> float:
        return learning_rate_at(step, peak=3e-3, warmup_steps=20, total_steps=200)

    assert rules_of(judge_of(run(200, rate=rate), plan)) == set()
    judge = judge_of(run(300, rate=rate), plan)
    assert rules_of(judge) == {"learning_rate_near_zero"}


def test_shuffled_labels_are_learnt_by_no_one_and_said_so() -> None:
    def shuffled(step: int, loss: Tensor, model: nn.Module) -> Tensor:
        inputs, _ = spirals(64, 0.2, step)
        return nn.functional.cross_entropy(model(inputs), torch.randint(0, 3, (64,)))

    torch.manual_seed(5)
    judge = judge_of(run(300, spoil=shuffled, rate=lambda step: 1e-3), RulePlan(classes=3))
    assert "no_learning" in rules_of(judge)
