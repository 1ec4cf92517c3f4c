"""Projects built to have a fault, and what the smoke test finds in them: that, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from smoke_bench import made, named, smoke
from training_project import MLP

pytestmark = pytest.mark.timeout(900)

FORGETFUL = """
import time

import numpy as np
import torch
from torch import nn

SLOW = 0.02


class Digits:
    def __init__(self, odd):
        from numpy import load
        found = load("data.npz")
        self.x = (found["x"] / 16).astype(np.float32)[odd::4]
        self.y = found["y"].astype(np.int64)[odd::4]
        if odd == 1:
            self.x[7] = np.nan

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        time.sleep(SLOW / 32)
        return self.x[index], self.y[index]


def build_data(split):
    return Digits(0 if split == "train" else 1)


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.first, self.last = nn.Linear(in_features, 16), nn.Linear(16, num_classes)
        self.unused = nn.Linear(16, 16)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return self.last(torch.tanh(self.first(x))) * (1 + 1 / (1 + self.calls))
"""
ZERO_AND_LAZY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.last = nn.Linear(in_features, num_classes)
        self.seen = None

    def forward(self, x):
        if self.training and self.seen is None:
            del self.seen
            self.register_buffer("seen", torch.zeros(3))
        return self.last(x)


def loss(model, batch):
    return (model(batch[0]) * 0.0).sum()
"""
BLIND = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.last = nn.Linear(in_features, num_classes)

    def forward(self, x):
        return self.last(torch.zeros_like(x)) + 30.0 * torch.eye(self.last.out_features)[0]
"""
MASKED = """
import numpy as np
import torch
from torch import nn


def build_data(split):
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 8)).astype(np.float32), np.full(200, -100, dtype=np.int64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(x)


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
"""
UNSAVEABLE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.first = nn.Linear(in_features, 16)
        self.last = nn.Linear(16, num_classes)

    def get_extra_state(self):
        return {"activation": lambda x: torch.relu(x)}

    def set_extra_state(self, state):
        pass

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
"""
BREAKS = """
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.last = nn.Linear(in_features, num_classes)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 5:
            raise ValueError("row 17 is odd")
        return self.last(x)
"""
HUNGRY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.last = nn.Linear(in_features, num_classes)

    def forward(self, x):
        if len(x) > 8:
            torch.empty(1 << 60)  # the allocator really refuses
        return self.last(x)
"""


def test_state_outside_of_the_model_slow_data_an_unused_layer_and_a_bad_validation_row(tmp_path: Path) -> None:
    project = made(tmp_path / "project", FORGETFUL, train_data="build_data", val_data="build_data")
    found = named(smoke(project))
    assert set(found) == {"resume", "data_loader", "gradients", "evaluation"}
    assert "after a resume the next steps differ by" in found["resume"].message
    assert "neither a parameter nor a buffer" in found["resume"].advice
    assert "the model waits for them" in found["data_loader"].message
    assert found["gradients"].message.startswith("unused.weight, unused.bias get no gradient")
    assert found["evaluation"].message == "the validation loss is nan over 449 samples."
    assert {one.severity for one in found.values()} == {"warning"}


def test_a_loss_of_zero_and_a_checkpoint_that_a_fresh_model_does_not_take(tmp_path: Path) -> None:
    found = named(smoke(made(tmp_path / "project", ZERO_AND_LAZY, task="custom")))
    assert set(found) == {"loss", "reload", "evaluation"}
    assert found["loss"].message == "the loss is zero from the first step on (0)."
    assert found["evaluation"].message.startswith("the validation loss is exactly zero over 359 samples")
    assert found["reload"].severity == "error" and "it has seen, which the model lacks" in found["reload"].message


def test_a_model_that_does_not_look_at_its_inputs_and_starts_far_off(tmp_path: Path) -> None:
    found = named(smoke(made(tmp_path / "project", BLIND, learning_rate=0.1, total_steps=1, warmup_steps=0)))
    assert set(found) == {"overfit", "initial_loss"}
    assert "cannot be learnt by heart" in found["overfit"].message
    assert "a model that knows nothing has 2.3" in found["initial_loss"].message


def test_labels_that_are_all_masked(tmp_path: Path) -> None:
    once = {"total_steps": 1, "warmup_steps": 0}
    project = made(tmp_path / "project", MASKED, train_data="build_data", val_data="split", task="custom", **once)
    found = named(smoke(project))
    assert found["labels"].severity == "error" and found["labels"].message == (
        "no label counts in any batch (all are -100)."
    )
    assert found["loss"].severity == "error" and "not finite in 1 of 1 steps" in found["loss"].message
    assert set(found) <= {"labels", "loss", "evaluation"}


def test_what_cannot_be_saved_is_told_with_what_was_measured_before(tmp_path: Path) -> None:
    facts = smoke(made(tmp_path / "project", UNSAVEABLE))
    found = named(facts)
    assert set(found) == {"save"} and found["save"].severity == "error"
    assert found["save"].message.startswith("saving a checkpoint failed: ")
    assert facts.steps >= 18 and facts.step_seconds is not None


def test_an_exception_is_told_with_its_step_and_place(tmp_path: Path) -> None:
    found = named(smoke(made(tmp_path / "project", BREAKS)))
    assert found["failure"].message == "it failed after step 4: ValueError: row 17 is odd (model.py:14)"
    assert set(found) == {"failure"} and found["failure"].severity == "error"


def test_memory_that_runs_out_names_the_batch_that_fits(tmp_path: Path) -> None:
    found = named(smoke(made(tmp_path / "project", HUNGRY, batch_size=32)))
    assert set(found) == {"memory"} and found["memory"].severity == "error"
    assert "it does not fit: memory ran out with batch_size 32" in found["memory"].message
    assert found["memory"].advice.startswith("Set batch_size to 8 and gradient_accumulation to 4")


def test_few_steps_in_all_are_enough_for_what_they_can_show(tmp_path: Path) -> None:
    facts = smoke(made(tmp_path / "project", MLP, total_steps=1, warmup_steps=0))
    assert (facts.steps, facts.resumed_steps, facts.findings) == (1, 0, ())
    assert facts.not_checked["resume"] == "there is no step behind a checkpoint"
