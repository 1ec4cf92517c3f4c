"""One optimizer step: weights by samples, clipping, what becomes of a non-finite one, and the step that never waits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_project import Project

from stationmaster_trainer import data, order
from stationmaster_trainer.adapters._torch_loss import Objective
from stationmaster_trainer.adapters._torch_trainee import TorchTrainee
from stationmaster_trainer.contract import Checkpoint, Eval, Note, Train
from stationmaster_trainer.errors import ModelError
from stationmaster_trainer.feed import Batch
from stationmaster_trainer.schedule import learning_rate_at

LINEAR = """
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.only = nn.Linear(in_features, num_classes)

    def forward(self, x):
        return self.only(x)
"""


@pytest.fixture
def seventy(project: Project) -> Project:
    """70 rows of three classes: two batches of 32 and one of 6."""
    generator = np.random.default_rng(0)
    project.arrays(generator.normal(size=(70, 8)).astype(np.float32), generator.integers(0, 3, 70))
    project.model(LINEAR)
    project.spec(val_data="none", scale_inputs=False, batch_size=32, learning_rate=0.0, gradient_clip=0.0)
    return project


def full_batch(project: Project, rows: np.ndarray) -> tuple[float, float]:
    """Loss and gradient norm of these rows in one batch, from the run's weights (its rate is 0: they never change)."""
    from safetensors.torch import load_file

    weights = load_file(str(project.checkpoints / "checkpoint-4" / "model.safetensors"))
    arrays = np.load(project.path / "data.npz")
    weight = weights["only.weight"].double().requires_grad_()
    bias = weights["only.bias"].double().requires_grad_()
    logits = torch.from_numpy(arrays["x"][rows]).double() @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(arrays["y"][rows]))
    loss.backward()
    loss = loss.detach()
    return loss.item(), math.hypot(float(weight.grad.norm()), float(bias.grad.norm()))


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_a_short_last_batch_weighs_by_its_samples(seventy: Project, accumulation: int) -> None:
    """Accumulated or not, each step is the mean over its own samples: equal to one large batch within 1e-6."""
    seventy.train_here(gradient_accumulation=accumulation, total_steps=4, checkpoint_every=4)
    steps_per_epoch = math.ceil(math.ceil(70 / 32) / accumulation)
    sizes = [len(part) for part in np.split(np.arange(70), range(32 * accumulation, 70, 32 * accumulation))]
    assert len(sizes) == steps_per_epoch
    for record in seventy.records(Train):
        epoch, group = divmod(record.step - 1, steps_per_epoch)
        rows = order.epoch_order(42, epoch, 70)[group * 32 * accumulation :][: 32 * accumulation]
        loss, norm = full_batch(seventy, rows)
        assert record.window_samples == len(rows) == sizes[group]
        assert record.loss == pytest.approx(loss, abs=1e-6)
        assert record.grad_norm == pytest.approx(norm, abs=1e-6)
        assert record.epoch == pytest.approx(record.samples / 70)
        assert record.worst_samples == tuple(rows[:64] + 1)


def test_the_records_mean_over_an_epoch_is_the_mean_over_its_samples(seventy: Project) -> None:
    seventy.train_here(log_every=3, total_steps=3, checkpoint_every=3, validate_every=3)
    (record,) = seventy.records(Train)
    (seventy.checkpoints / "checkpoint-3").rename(seventy.checkpoints / "checkpoint-4")
    assert record.loss == pytest.approx(full_batch(seventy, np.arange(70))[0], abs=1e-6)
    assert record.loss_min <= record.loss <= record.loss_max


def test_the_recorded_rate_is_the_schedules(project: Project) -> None:
    project.train_here(total_steps=30, warmup_steps=7, lr_schedule="linear", min_lr_ratio=0.1)
    for record in project.records(Train):
        expected = learning_rate_at(
            record.step, peak=3e-3, warmup_steps=7, total_steps=30, shape="linear", min_ratio=0.1
        )
        assert record.learning_rate == expected


def test_the_norm_is_recorded_before_clipping_and_the_update_is_clipped(project: Project) -> None:
    """With plain SGD and rate 1 the first update's length is the clipped norm."""
    project.train_here(
        optimizer="SGD",
        betas=(0.0, 0.0),
        weight_decay=0.0,
        learning_rate=1.0,
        warmup_steps=0,
        gradient_clip=0.01,
        total_steps=1,
    )
    (record,) = project.records(Train)
    assert record.grad_norm is not None and record.grad_norm > 0.1
    (note,) = [note for note in project.records(Note) if "update_ratio" in note.facts]
    from safetensors.torch import load_file

    weights = load_file(str(project.checkpoints / "checkpoint-1" / "model.safetensors"))
    moved = sum(
        (ratio * float(torch.cat([weights[f"{group}.weight"].flatten(), weights[f"{group}.bias"]]).norm())) ** 2
        for group, ratio in note.facts["update_ratio"].items()
    )
    assert math.sqrt(moved) == pytest.approx(0.01, rel=0.02)


POISON = """
import torch
from torch import nn

steps = 0


class Net(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(in_features, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.last = nn.Linear(16, num_classes)

    def forward(self, x):
        global steps
        if self.training:
            steps += 1
            if {when}:
                x = x * float("nan")
        return self.last(self.first(x))
"""


def test_a_nan_step_is_reported_and_left_out_and_neither_weights_nor_batch_statistics_keep_a_trace(
    project: Project,
) -> None:
    project.model(POISON.format(when="steps in (7, 12)"))
    project.train_here(total_steps=20, log_every=5, checkpoint_every=20)
    records = project.records(Train)
    assert [(record.nonfinite, record.skipped, record.nonfinite_step) for record in records] == [
        (0, 0, None),
        (1, 1, 7),
        (1, 1, 12),
        (0, 0, None),
    ]
    assert records[1].nonfinite_what == "loss"
    rows = data.load(project.config, project.path).train.rows
    assert records[1].worst_samples == tuple(rows[order.batch_indices(42, 6, 32, len(rows))])
    assert all(math.isfinite(record.loss) for record in records)
    assert all(math.isfinite(record.loss) for record in project.records(Eval))
    from safetensors.torch import load_file

    weights = load_file(str(project.checkpoints / "checkpoint-20" / "model.safetensors"))
    assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in weights.values())


def test_a_run_that_is_never_finite_again_fails_and_says_since_when(project: Project) -> None:
    project.model(POISON.format(when="steps > 30"))
    with pytest.raises(ModelError, match=r"not finite for 1[0-9]{2} steps in a row, up to step 1[34]"):
        project.train_here(total_steps=1000, log_every=10, checkpoint_every=50, validate_every=50)
    assert sum(record.nonfinite for record in project.records(Train)) >= 100
    assert all(math.isfinite(record.loss) for record in project.records(Eval))
    assert len(project.records(Checkpoint)) == 2


def trainees(project: Project, net: torch.nn.Module, **changes: Any) -> list[TorchTrainee]:
    """The same model trained at once, and with its figures gathered as on a device."""
    import copy

    config = project.spec(log_every=8, **changes).config
    device = torch.device("cpu")
    return [
        TorchTrainee(
            copy.deepcopy(net),
            Objective("classification", 3, 3),
            config,
            device,
            "fp32",
            Path(project.path),
            deferred=deferred,
        )
        for deferred in (False, True)
    ]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_the_step_that_waits_for_nothing_does_what_the_waiting_one_does(project: Project, optimizer: str) -> None:
    """Clipping and skipping inside the fused kernel, on the CPU: same figures, same weights, same statistics."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(6, 12, bias=False), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 3))
    now, later = trainees(project, net, optimizer=optimizer, gradient_clip=0.2)
    for step in range(1, 9):
        inputs = torch.randn(16, 6)
        if step == 4:
            inputs[3, 2] = math.inf
        parts = (
            Batch(inputs[:10], torch.randint(0, 3, (10,)), 10, 10),
            Batch(inputs[10:], torch.randint(0, 3, (6,)), 6, 6),
        )
        for one in (now, later):
            one.step(parts, 0.05 * step)
    first, second = now.drain(), later.drain()
    assert [result.skipped for result in first] == [False, False, False, True, False, False, False, False]
    for one, other in zip(first, second, strict=True):
        assert one.skipped == other.skipped
        assert other.loss == pytest.approx(one.loss, rel=1e-5, nan_ok=True)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-5, nan_ok=True)
    for (name, value), other in zip(now.model.state_dict().items(), later.model.state_dict().values(), strict=True):
        assert torch.allclose(value.float(), other.float(), atol=2e-6), name
    assert later.drain() == []


def test_an_overflow_of_the_loss_scale_halves_it_and_is_no_non_finite_gradient(project: Project) -> None:
    """The scale of fp16, in fp32 arithmetic on the CPU: 2**68 overflows the norm, some halvings later it does not."""
    torch.manual_seed(0)
    config = project.spec(log_every=16).config
    trainee = TorchTrainee(
        torch.nn.Linear(6, 3),
        Objective("classification", 3, 3),
        config,
        torch.device("cpu"),
        "fp32",
        Path(project.path),
        deferred=True,
        loss_scale=2.0**68,
    )
    before = trainee.model.weight.clone()  # type: ignore[union-attr,operator]
    batch = Batch(8.0 * torch.randn(16, 6), torch.randint(0, 3, (16,)), 16, 16)
    trainee.step((batch,), 0.01)
    assert torch.equal(trainee.model.weight, before)  # type: ignore[arg-type]
    for _ in range(9):
        trainee.step((batch,), 0.01)
    results = trainee.drain()
    assert results[0].skipped and results[0].grad_norm is None and math.isfinite(results[0].loss)
    assert not results[-1].skipped and results[-1].grad_norm is not None
    assert not torch.equal(trainee.model.weight, before)  # type: ignore[arg-type]


def test_padding_counts_for_nothing_in_the_weights_of_accumulated_batches(project: Project) -> None:
    """Rows of 2, 6, 0 and 8 tokens that count, in batches of one row: the mean is over the 16 tokens."""
    project.model(
        """
        import numpy
        from torch import nn

        class Net(nn.Module):
            def __init__(self, vocab_size):
                super().__init__()
                self.embed = nn.Embedding(vocab_size, vocab_size)

            def forward(self, tokens):
                return self.embed(tokens)

        def build_data(split):
            tokens = numpy.random.default_rng(0).integers(0, 5, (4, 8))
            targets = numpy.roll(tokens, -1, axis=1)
            for row, length in enumerate((2, 6, 0, 8)):
                targets[row, length:] = -100
            return tokens, targets
        """
    )
    known = {"train_data": "build_data", "val_data": "build_data", "task": "language_modeling", "total_steps": 1}
    losses = []
    for batch_size, accumulation in ((4, 1), (1, 4), (3, 2)):
        project.train_here(**known, batch_size=batch_size, gradient_accumulation=accumulation)
        (record,) = project.records(Train)
        losses.append((record.loss, record.grad_norm))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_the_first_steps_note_tells_what_no_curve_shows(project: Project) -> None:
    project.model(
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self, in_features, num_classes):
                super().__init__()
                self.first = nn.Linear(in_features, 16)
                self.cut = nn.Linear(16, 16)
                self.last = nn.Linear(16, num_classes)

            def forward(self, x):
                return self.last(self.first(x).relu() + self.cut(x[:, :16]).detach())
        """
    )
    project.train_here(total_steps=80, validate_every=10, checkpoint_every=40)
    notes = [note for note in project.records(Note) if "update_ratio" in note.facts]
    assert [note.step for note in notes] == [1, 10, 20, 40, 80]
    facts = notes[0].facts
    assert facts["initial_loss"] == pytest.approx(project.records(Train)[0].loss, rel=1e-6)
    assert facts["expected_loss"] == pytest.approx(math.log(10))
    assert set(facts["update_ratio"]) == {"first", "cut", "last"}
    assert facts["update_ratio"]["first"] > 0
    assert facts["without_gradient"] == ["cut.weight", "cut.bias"]
    assert facts["unchanged"] == ["cut.weight", "cut.bias"]
    assert facts["unchanged_share"] == pytest.approx(1 / 3)
    norms = facts["grad_norm"]
    assert math.hypot(norms["first"], norms["last"]) == pytest.approx(project.records(Train)[0].grad_norm, rel=1e-5)
