"""Faults that no curve shows, on real runs of each adapter: named by their rule, and silence over sound models."""

from __future__ import annotations

from pathlib import Path

import pytest
from flax_project import FlaxProject
from hf_project import HfProject, save_tokenizer
from training_project import Project

from stationmaster_trainer import stream
from stationmaster_trainer.contract import Alert
from stationmaster_trainer.judge import Judge, plan_for

RULES = {"bad_initial_loss", "frozen_parameters", "vanishing_gradient", "dead_units"}
SHORT = {"total_steps": 24, "checkpoint_every": 24, "validate_every": 6, "warmup_steps": 2, "learning_rate": 1e-3}

TORCH = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        self.drop = nn.Dropout(0.1)
        {make}

    def forward(self, x):
        {forward}
"""
PLAIN = "return self.last(self.drop(F.relu(self.middle(F.relu(self.first(x))))))"
DEEP = "self.deep = nn.Sequential(*[m for _ in range(40) for m in (nn.Linear(32, 32), nn.Sigmoid())])"
CONV = "self.c1, self.c2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3); self.out = nn.Linear(64, 10); "
CONV += "del self.first, self.middle, self.last"
TORCH_FAULTS = [
    ("self.middle.bias.data.fill_(-100.0)", PLAIN, "dead_units", "middle"),
    ("", "return self.last(F.relu(self.middle(F.relu(self.first(x)).detach())))", "frozen_parameters", "first"),
    (DEEP, "return self.last(self.deep(self.middle(self.first(x))))", "vanishing_gradient", "deep"),
    ("", "return 100 * self.last(F.relu(self.middle(F.relu(self.first(x)))))", "bad_initial_loss", "2.30"),
]
TORCH_SOUND = [
    ("", PLAIN),
    ("", PLAIN.replace("relu", "gelu")),
    ("", PLAIN.replace("F.relu", "torch.tanh")),
    (CONV, "return self.out(F.max_pool2d(F.relu(self.c2(F.relu(self.c1(x.view(-1, 1, 8, 8))))), 2).flatten(1))"),
]


def digits(path: Path) -> Project:
    """Handwritten digits (1,797 × 64, ten classes)."""
    from sklearn.datasets import load_digits

    project, found = Project(path), load_digits()
    project.arrays(found.data.astype("float32"), found.target)
    return project


def alarms(project: Project) -> list[Alert]:
    """What the rules over the facts say of the newest attempt, with the plan of the run."""
    judge = Judge(plan_for(project.spec()))
    for record in stream.records(project.run.attempts()[-1].stream):
        judge.see(record)
    assert not RULES & judge.not_checked().keys() - {"bad_initial_loss"}, judge.not_checked()
    return [alert for alert in judge.alerts() if alert.rule in RULES and alert.severity != "info"]


@pytest.mark.parametrize(("make", "forward", "rule", "named"), TORCH_FAULTS, ids=[case[2] for case in TORCH_FAULTS])
def test_a_fault_inside_a_pytorch_model_is_named(
    tmp_path: Path, make: str, forward: str, rule: str, named: str
) -> None:
    project = digits(tmp_path / "project")
    project.model(TORCH.format(make=make, forward=forward))
    project.train_here(**SHORT)
    found = {alert.rule: alert.message for alert in alarms(project)}
    assert named in found[rule], found


@pytest.mark.parametrize(("make", "forward"), TORCH_SOUND, ids=["relu", "gelu", "tanh", "convolutions"])
def test_a_sound_pytorch_model_raises_none_of_them(tmp_path: Path, make: str, forward: str) -> None:
    project = digits(tmp_path / "project")
    project.model(TORCH.format(make=make, forward=forward))
    project.train_here(**SHORT)
    assert not alarms(project)


FLAX = """
import jax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 32, rngs=rngs)
        self.middle = nnx.Linear(32, 32, rngs=rngs)
        self.last = nnx.Linear(32, 10, rngs=rngs)
        {make}

    def __call__(self, x):
        {forward}
"""
FLAX_PLAIN = "return self.last(nnx.relu(self.middle(nnx.relu(self.first(x)))))"
FLAX_DEEP = "self.deep = nnx.List([nnx.Linear(32, 32, rngs=rngs) for _ in range(40)])"
FLAX_DEEP_CALL = "\n        ".join(
    [
        "x = self.first(x)",
        "for layer in self.deep:",
        "    x = nnx.sigmoid(layer(x))",
        "return self.last(self.middle(x))",
    ]
)
FLAX_FAULTS = [
    ("self.middle.bias[...] = self.middle.bias[...] - 100.0", FLAX_PLAIN, "dead_units", "middle"),
    ("", FLAX_PLAIN.replace("nnx.relu(self.first(x))", "jax.lax.stop_gradient(self.first(x))"), "frozen_parameters",
     "first"),
    (FLAX_DEEP, FLAX_DEEP_CALL, "vanishing_gradient", "deep"),
    ("", FLAX_PLAIN.replace("return ", "return 100 * "), "bad_initial_loss", "2.30"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "forward", "rule", "named"), FLAX_FAULTS, ids=[case[2] for case in FLAX_FAULTS])
def test_a_fault_inside_a_flax_model_is_named(tmp_path: Path, make: str, forward: str, rule: str, named: str) -> None:
    project = FlaxProject(tmp_path / "project", FLAX.format(make=make, forward=forward))
    project.train_here(**SHORT)
    found = {alert.rule: alert.message for alert in alarms(project)}
    assert named in found[rule], found


def test_a_sound_flax_model_raises_none_of_them(tmp_path: Path) -> None:
    project = FlaxProject(tmp_path / "project", FLAX.format(make="", forward=FLAX_PLAIN))
    project.train_here(**SHORT)
    assert not alarms(project)


@pytest.mark.parametrize("fault", ["", "dead_units", "bad_initial_loss"])
def test_a_model_of_transformers_is_looked_into_as_well(tmp_path: Path, fault: str) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    project = HfProject(tmp_path / "project", **SHORT, batch_size=16, weight_decay=0.0)
    project.rows({"text": f"the sum of {a} and {b} is {a + b} " * 3} for a in range(20) for b in range(20))
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = save_tokenizer(project.path / "model")
    sizes |= {"vocab_size": tokens, "max_position_embeddings": 128, "word_embed_proj_dim": 32}
    config = OPTConfig(**sizes, init_std=5.0 if fault == "bad_initial_loss" else 0.02)
    config.save_pretrained(project.path / "model")  # without weights: they come from the seed
    if fault == "dead_units":
        model = OPTForCausalLM(config)
        model.model.decoder.layers[1].fc1.bias.data.fill_(-100.0)
        model.save_pretrained(project.path / "model")
    project.train_here()
    found = {alert.rule: alert.message for alert in alarms(project)}
    if fault == "dead_units":
        assert "layers.1.fc1" in found["dead_units"]
        assert "layers.1.fc" in found.pop("frozen_parameters", "layers.1.fc"), "nothing reaches its weights"
    assert found.keys() == ({fault} if fault else set()), found
