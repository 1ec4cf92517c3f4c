"""Trains an `nn.Module` from a Python file with PyTorch, and measures it before the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import entry, manifest
from ..checkpoint import Saver, read_position
from ..contract import Launch, Spec
from ..dataset import Data, LazyDataset
from ..early_stopping import Progress
from ..errors import CheckpointError, DataError
from ..facts import ModelFacts
from ..feed import Feed, Plan
from ..loop import Loop
from ..reporter import Outcome, Reporter
from . import _torch_build, _torch_device, _torch_measure
from ._torch_build import Built
from ._torch_trainee import TorchTrainee


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """One attempt: reads, builds, resumes where ordered, trains. Raises errors of `errors.py`, and the user's own."""
    config, project = spec.config, Path(spec.project_dir)
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    device = _torch_device.choose(config.device)
    reporter.phase("data")
    source = _torch_build.read(config, project)
    _check_unchanged(spec, source.data.fingerprint, reporter)
    reporter.phase("model")
    built = _torch_build.build(config, project, source, device)
    trainee = _trainee(spec, built, device, reporter)
    saver = Saver(
        Path(spec.checkpoint_dir),
        project,
        config.keep_checkpoints,
        spec.digest,
        reporter.write,
        reporter.elapsed,
    )
    step, progress = _resume(spec, launch, trainee, saver, reporter)
    reporter.started(_torch_device.describe(device), trainee.precision, step)
    if launch.attempt == 1:
        for message in source.data.notes:
            reporter.note(message, step)
    plan = Plan(config.seed, config.batch_size, config.gradient_accumulation, len(source.data.train))
    # Image files are decoded ahead; the user's own data set may draw random numbers, which a thread would shuffle.
    ahead = isinstance(source.data.train, LazyDataset) and source.data.train.digest is not None
    feed = Feed(source.data.train, plan, trainee.convert, ahead)
    loop = Loop(config, trainee, feed, saver, reporter, source.data.val is not None, progress, step)
    try:
        return loop.run()
    finally:
        feed.close()
        saver.close()


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
    return TorchTrainee(
        built.model,
        built.objective,
        spec.config,
        device,
        precision,
        Path(spec.project_dir),
        val=found.val,
        tally=built.tally,
        write_more=found.preprocessing.save,
    )


def _check_unchanged(spec: Spec, fingerprint: str, reporter: Reporter) -> None:
    """Refuses other data than those that were confirmed; tells when the model file is another one."""
    if spec.facts.fingerprint and fingerprint != spec.facts.fingerprint:
        raise DataError(
            f"the data changed since they were confirmed: {spec.config.train_data!r} has another content.",
            "Put the files back as they were, or plan a new run with the new ones.",
        )
    path = entry.resolve(spec.config.model_path, Path(spec.project_dir))
    found = entry.entry_sha256(path, Path(spec.project_dir))
    if spec.facts.entry_sha256 and found != spec.facts.entry_sha256:
        reporter.note(f"{path.name} or a file it imports changed since it was confirmed", level="warning")


def _resume(
    spec: Spec, launch: Launch, trainee: TorchTrainee, saver: Saver, reporter: Reporter
) -> tuple[int, Progress]:
    """The step to continue from and the progress so far. Raises CheckpointError."""
    reporter.phase("resume", launch.resume_step)
    swept = saver.prepare()
    if swept:
        reporter.note(f"removed what an interrupted save left: {', '.join(swept)}", launch.resume_step)
    if launch.resume_from is None:
        return 0, Progress()
    folder = Path(launch.resume_from)
    found = manifest.verify(folder)
    if found.digest and spec.digest and found.digest != spec.digest:
        raise CheckpointError(f"{folder} was written under another configuration.", "Start a new run for the new one.")
    position = read_position(folder)
    progress = Progress.restored(position.get("progress", {}))
    saver.best_step = progress.best_saved_step
    _torch_device.set_rng_state(trainee.restore(folder))
    return found.step, progress
