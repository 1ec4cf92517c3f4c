"""Trains an `nn.Module` from a Python file with PyTorch, and measures it before the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import attempt, testdata, user_model
from ..contract import Launch, Spec
from ..dataset import Data
from ..facts import ModelFacts
from ..model_card import Exported
from ..preprocessing import Preprocessing
from ..reporter import Outcome, Reporter
from ..testdata import Tested
from . import _torch_build, _torch_device, _torch_export, _torch_measure, _torch_state
from ._torch_build import Built
from ._torch_trainee import TorchTrainee


def train(spec: Spec, launch: Launch, reporter: Reporter, run: attempt.Runner = attempt.run) -> Outcome:
    """One attempt: reads, builds, resumes where ordered, trains. Raises errors of `errors.py`, and the user's own.

    `run`: what is done with the built trainee; another than the attempt is the preflight's.
    """
    config, project = spec.config, Path(spec.project_dir)
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    device = _torch_device.choose(config.device)
    reporter.phase("data")
    source = _torch_build.read(config, project)
    attempt.check_unchanged(spec, source.data.fingerprint, reporter)
    reporter.phase("model")
    built = _torch_build.build(config, project, source, device)
    trainee = _trainee(spec, built, device, reporter)

    def restore(folder: Path) -> None:
        _torch_device.set_rng_state(trainee.restore(folder))

    return run(spec, launch, reporter, source.data, trainee, restore, _torch_device.describe(device))


def evaluate(spec: Spec, folder: Path, data: str) -> Tested:
    """Scores the model of a verified checkpoint on a test set, as a validation does, with the saved preprocessing.

    Raises DataError for a test set that cannot be used or was not held out, CheckpointError for a checkpoint of another
    model.
    """
    config, project = spec.config, Path(spec.project_dir)
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    device = _torch_device.choose(config.device)
    source = _torch_build.read(config, project)
    hook = user_model.hook(source.module, "build_data")
    test = testdata.load(source.data, Preprocessing.load(folder), project, data, hook)
    overlap, findings = testdata.overlap(source.data, test, data)
    built = _torch_build.build(config, project, source, device)
    _torch_state.load_model(built.model, folder)
    trainee = TorchTrainee(
        built.model, built.objective, config, device, "fp32", project, val=test.dataset, tally=built.tally
    )
    found = trainee.evaluate(lambda: False)
    assert found is not None  # there is a test set, and nobody stops it
    said = (*testdata.changed(spec, source.data), *test.findings, *findings)
    return Tested(found, _torch_device.describe(device), test.dropped, overlap, said)


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Writes weights, preprocessing and the model's own files of a checkpoint into `target`: see `_torch_export`."""
    return _torch_export.export(spec, folder, target)


def load_data(config: Mapping[str, Any], project_dir: Path) -> Data:
    """The data as a run reads them: generators seeded, the model file imported for its `build_data`."""
    return _torch_build.read(config, project_dir).data


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Builds the model with the data's sizes and feeds it: see `_torch_measure`."""
    return _torch_measure.measure(config, project_dir)


def _trainee(spec: Spec, built: Built, device: torch.device, reporter: Reporter) -> TorchTrainee:
    found = built.source.data
    precision = spec.config.precision
    if precision not in _torch_device.precisions(device):
        reporter.note(f"{precision} is not faster on {device}: fp32 is used", level="warning", precision="fp32")
        precision = "fp32"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 for what stays in fp32

    def write_more(folder: Path) -> None:
        found.preprocessing.save(folder)
        _torch_export.remember(folder, built)

    return TorchTrainee(
        built.model,
        built.objective,
        spec.config,
        device,
        precision,
        Path(spec.project_dir),
        val=found.val,
        tally=built.tally,
        write_more=write_more,
    )
