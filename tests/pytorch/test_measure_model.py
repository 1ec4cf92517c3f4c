"""What is measured before a run is what the run then has, and what would end it in its first epoch is found there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_project import MLP, Project

from stationmaster_trainer.adapters import pytorch
from stationmaster_trainer.contract import Note
from stationmaster_trainer.errors import ConfigError, DataError, ModelError
from stationmaster_trainer.facts import ModelFacts


def measure(project: Project, **known: Any) -> ModelFacts:
    asked = {"model_path": "model.py", "train_data": "data.npz", "val_data": "split", "num_threads": 1}
    return pytorch.measure({**asked, **known}, project.path)


def test_the_measured_facts_are_those_of_the_run(project: Project) -> None:
    facts = measure(project, batch_size=32)
    assert facts.model_name == "Net"
    assert facts.model_args == {"in_features": 64, "num_classes": 10}
    assert facts.parameters == facts.trainable_parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert facts.parameter_bytes == 4 * facts.parameters
    assert facts.output_shape == (32, 10)
    assert facts.dropout_layers == 1
    assert (facts.device, facts.precisions) == ("cpu", ("fp32",))
    assert facts.expected_loss == pytest.approx(math.log(10))
    assert facts.seconds_per_batch and facts.free_memory_bytes and len(facts.entry_sha256) == 64
    assert facts.findings == ()
    project.train_here(total_steps=1)
    first = next(note for note in project.records(Note) if "initial_loss" in note.facts)
    assert facts.initial_loss == pytest.approx(first.facts["initial_loss"], rel=1e-6)


def test_measuring_leaves_nothing_in_the_project(project: Project) -> None:
    before = sorted(path.name for path in project.path.iterdir())
    measure(project)
    after = sorted(path.name for path in project.path.iterdir() if path.name != "__pycache__")
    assert after == before


def test_a_last_batch_of_one_row_under_batch_normalisation_is_found_with_a_batch_size_that_fits(
    project: Project,
) -> None:
    generator = np.random.default_rng(0)
    project.arrays(generator.normal(size=(65, 64)), np.arange(65) % 10)
    project.model(MLP.replace("nn.ReLU(),", "nn.BatchNorm1d(hidden), nn.ReLU(),"))
    with pytest.raises(
        ModelError, match=r"last batch of an epoch holds 1 sample \(65 samples in batches of 32\)"
    ) as it:
        measure(project, batch_size=32, val_data="none")
    assert "batch_size, for example 31" in it.value.way_out
    assert measure(project, batch_size=31, val_data="none").findings == ()


@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        (("return self.layers(x)", "return self.layers(x).softmax(-1)"), "softmax", "warning"),
        (("return self.layers(x)", "return 300 * self.layers(x)"), "initial_loss", "warning"),
        (("return self.layers(x)", "return self.layers(x) / 0"), "initial_loss", "error"),
        (
            ("        self.layers", "        self.idle = nn.Linear(3, 3)\n        self.layers"),
            "gradients",
            "warning",
        ),
    ],
)
def test_silent_errors_are_found_before_the_start(
    project: Project, change: tuple[str, str], check: str, severity: str
) -> None:
    project.model(MLP.replace(*change))
    found = measure(project).findings
    assert [(finding.check, finding.severity) for finding in found] == [(check, severity)]


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ({"device": "cuda:7"}, ConfigError, "cuda:7"),
        ({"device": "gpu"}, ConfigError, "unknown device 'gpu'"),
        ({"train_data": "gone.csv"}, DataError, r"gone\.csv"),
        ({"train_data": "build_data"}, DataError, "build_data"),
        ({"model_path": "gone.py"}, ModelError, r"gone\.py"),
        ({"model_args": {"hidden": "wide"}}, ModelError, r"Net\(.*hidden='wide'.*failed at model\.py"),
        ({"task": "custom"}, ModelError, "the model file defines no loss"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(
    project: Project, known: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measure(project, **known)


def test_lazy_layers_get_their_shape_from_the_data(project: Project, tmp_path: Path) -> None:
    project.model(MLP.replace("nn.Linear(in_features, hidden)", "nn.LazyLinear(hidden)"))
    assert measure(project).parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert project.train_here(total_steps=3).step == 3
