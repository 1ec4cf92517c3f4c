"""Sound projects of every framework: they are measured, resumed exactly, and nothing is found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from flax_project import NNX_NORM, FlaxProject
from hf_project import QUESTIONS, HfProject, save_llama
from smoke_bench import made, named, smoke
from training_project import Project

from stationmaster_trainer.facts import SmokeFacts

pytestmark = pytest.mark.timeout(900)

CNN = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, num_classes),
        )

    def forward(self, x):
        return self.layers(x)
"""
BLIND = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, in_features: int, num_classes: int, *, rngs: nnx.Rngs):
        self.last = nnx.Linear(in_features, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(x * 0.0)
"""


@pytest.fixture(autouse=True)
def quick_jax(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, compiled once for the processes of a file and hardly optimised."""
    cache = tmp_path_factory.getbasetemp() / "jax"
    settings = {"JAX_PLATFORMS": "cpu", "NPROC": "1", "PJRT_NPROC": "1", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    settings |= {"XLA_FLAGS": "--xla_backend_optimization_level=0", "HF_HUB_OFFLINE": "1"}
    settings |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for name, value in settings.items():
        monkeypatch.setitem(os.environ, name, value)


def sound(project: Project) -> SmokeFacts:
    """The facts, after everything that a sound project shows was seen in them."""
    facts = smoke(project)
    assert facts.findings == (), facts.findings
    assert (facts.steps, facts.resumed_steps, facts.resume_difference) == (20, 2, 0.0)
    assert facts.step_seconds and facts.peak_memory and facts.free_memory and facts.checkpoint_bytes
    assert facts.eval_loss is not None and facts.overfit is not None and facts.not_checked == {}
    return facts


def test_a_convolutional_network_with_batch_statistics_and_accumulation(tmp_path: Path) -> None:
    facts = sound(made(tmp_path / "project", CNN, gradient_accumulation=2, warmup_steps=100))
    assert facts.eval_samples == 359


def test_a_flax_network_with_batch_statistics_and_dropout(tmp_path: Path) -> None:
    project = FlaxProject(tmp_path / "project", NNX_NORM)
    project.config = replace(project.config, total_steps=500)
    sound(project)


def test_a_flax_network_that_does_not_look_at_its_inputs_is_found_in_one_step(tmp_path: Path) -> None:
    project = FlaxProject(tmp_path / "project", BLIND)
    project.config = replace(project.config, total_steps=1, warmup_steps=0, val_data="none")
    found = named(smoke(project))
    assert set(found) == {"overfit"}
    assert "needs no look at the inputs" in found["overfit"].message


def test_a_small_language_model_of_transformers(tmp_path: Path) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    project.rows(
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in QUESTIONS
    )
    project.config = replace(project.config, total_steps=60)
    facts = sound(project)
    assert facts.eval_samples == 20
