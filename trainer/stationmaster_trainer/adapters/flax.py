"""Trains an `nnx.Module` or a `linen.Module` from a Python file with JAX, and measures it before the start.

The file's own `loss(model, batch)` gets for both kinds a model that is called like a function: `model(inputs)`. Random
streams, batch statistics and the flag that tells training from validation are seen to. Of a Linen module other methods
can be called in the same way, and `model.variables` are its variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import attempt, model_code, testdata, user_model
from ..contract import Launch, Spec
from ..dataset import Data
from ..facts import ModelFacts
from ..model_card import Exported
from ..preprocessing import Preprocessing
from ..reporter import Outcome, Reporter
from ..testdata import Tested
from . import _flax_build, _flax_device, _flax_export, _flax_measure
from ._flax_build import Built
from ._flax_trainee import FlaxTrainee


def train(spec: Spec, launch: Launch, reporter: Reporter, run: attempt.Runner = attempt.run) -> Outcome:
    """One attempt: reads, builds, resumes where ordered, trains. Raises errors of `errors.py`, and the user's own.

    `run`: what is done with the built trainee; another than the attempt is the preflight's.
    """
    config, project = spec.config, Path(spec.project_dir)
    _flax_device.prepare(config.device, config.num_threads)
    device = _flax_device.choose(config.device)
    reporter.phase("data")
    source = _flax_build.read(config, project)
    attempt.check_unchanged(spec, source.data.fingerprint, reporter)
    reporter.phase("model")
    built = _flax_build.build(config, project, source, device)
    trainee = _trainee(spec, built, device, reporter)
    trainee.compile(source.data.train)
    described = _flax_device.describe(device)
    return run(spec, launch, reporter, source.data, trainee, trainee.restore, described)


def evaluate(spec: Spec, folder: Path, data: str) -> Tested:
    """Scores the model of a verified checkpoint on a test set, as a validation does, with the saved preprocessing.

    Raises DataError for a test set that cannot be used or was not held out, CheckpointError for a checkpoint of another
    model.
    """
    config, project = spec.config, Path(spec.project_dir)
    _flax_device.prepare(config.device, config.num_threads)
    device = _flax_device.choose(config.device)
    source = _flax_build.read(config, project)
    hook = user_model.hook(source.module, "build_data")
    test = testdata.load(source.data, Preprocessing.load(folder), project, data, hook)
    overlap, findings = testdata.overlap(source.data, test, data)
    built = _flax_build.build(config, project, source, device)
    trainee = FlaxTrainee(
        built.pure, built.objective, config, device, "fp32", project, val=test.dataset, tally=built.tally
    )
    trainee.load(folder)
    found = trainee.evaluate(lambda: False)
    assert found is not None  # there is a test set, and nobody stops it
    said = (*testdata.changed(spec, source.data), *test.findings, *findings)
    return Tested(found, _flax_device.describe(device), test.dropped, overlap, said)


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Writes the Orbax folder, preprocessing and the model's own files of a checkpoint: see `_flax_export`."""
    return _flax_export.export(spec, folder, target)


def load_data(config: Mapping[str, Any], project_dir: Path) -> Data:
    """The data as a run reads them: generators seeded, the model file imported for its `build_data`."""
    _flax_device.prepare(str(config.get("device") or "auto"))
    return _flax_build.read(config, project_dir).data


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Builds the model with the data's sizes and feeds it: see `_flax_measure`."""
    return _flax_measure.measure(config, project_dir)


def _trainee(spec: Spec, built: Built, device: Any, reporter: Reporter) -> FlaxTrainee:
    found = built.source.data
    precision = spec.config.precision
    if precision not in _flax_device.precisions(device):
        reporter.note(f"{precision} is not faster on {device}: fp32 is used", level="warning", precision="fp32")
        precision = "fp32"

    def write_more(folder: Path) -> None:
        found.preprocessing.save(folder)
        model_code.remember(folder, built.description)

    return FlaxTrainee(
        built.pure,
        built.objective,
        spec.config,
        device,
        precision,
        Path(spec.project_dir),
        val=found.val,
        tally=built.tally,
        write_more=write_more,
    )
