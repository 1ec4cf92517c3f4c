"""Builds the model on the real data's sizes and feeds it real batches, before anything is started.

It does what a run does: forward, loss and backward of two batches and of the short last batch of an epoch, an optimizer
step with rate 0, a validation batch, and a checkpoint written and read back.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from .. import entry, order, trial
from ..errors import ModelError
from ..facts import Finding, ModelFacts
from ..feed import Batch
from . import _torch_build, _torch_device
from ._torch_build import Built
from ._torch_trainee import TorchTrainee


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Raises ModelError or DataError for whatever would end the run at its first steps."""
    if config.get("num_threads"):
        torch.set_num_threads(int(config["num_threads"]))
    device = _torch_device.choose(config.get("device") or "auto")
    free = _torch_device.free_memory(device)
    source = _torch_build.read(config, project_dir)
    built = _torch_build.build(config, project_dir, source, device)
    trainee = TorchTrainee(
        built.model,
        built.objective,
        trial.complete(config, len(source.data.train)),
        device,
        "fp32",
        project_dir,
        val=source.data.val,
        tally=built.tally,
    )
    tried = _Trial(built, trainee)
    parameters = list(built.model.parameters())
    return ModelFacts(
        model_name=built.model_name,
        model_args=built.model_args,
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        device=_torch_device.describe(device),
        precisions=_torch_device.precisions(device),
        initial_loss=tried.initial_loss,
        expected_loss=built.objective.expected_initial_loss,
        output_shape=tried.output_shape,
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        free_memory_bytes=free,
        seconds_per_batch=tried.seconds,
        dropout_layers=len(_torch_build.dropout_layers(built.model)),
        entry_sha256=entry.entry_sha256(entry.resolve(config["model_path"], project_dir), project_dir),
        findings=tuple(tried.findings),
    )


class _Trial:
    """Everything that a run does, once."""

    def __init__(self, built: Built, trainee: TorchTrainee) -> None:
        self._built, self._trainee = built, trainee
        self.findings: list[Finding] = []
        self._data = built.source.data.train
        self._size, self._seed = trainee.config.batch_size, trainee.config.seed
        first = self._batch(0)
        self.initial_loss = float(trainee.backward((first,)))
        self._look_at_gradients()
        begun = time.perf_counter()
        float(trainee.backward((self._batch(1 if len(self._data) > self._size else 0),)))
        self.seconds = time.perf_counter() - begun
        self._short_batch()
        self.output_shape = self._validation_batch(first)
        self._checkpoint()
        self._look_at_loss(first)

    def _batch(self, number: int) -> Batch:
        indices = order.batch_indices(self._seed, number, self._size, len(self._data))
        return self._trainee.convert(*self._data.batch(indices), len(indices))

    def _short_batch(self) -> None:
        """The last batch of an epoch, with an optimizer step of rate 0 that changes nothing."""
        n = len(self._data)
        last = self._batch(order.batches_per_epoch(self._size, n) - 1)
        try:
            self._trainee.step((last,), 0.0)
        except ModelError as error:
            normalises = any(isinstance(module, _BatchNorm) for module in self._built.model.modules())
            if last.samples > 1 or not normalises:
                raise
            raise ModelError(
                f"the last batch of an epoch holds 1 sample ({n} samples in batches of {self._size}), and batch "
                "normalisation needs 2 at least.",
                f"Choose another batch_size, for example {_fitting_batch(n, self._size)}.",
            ) from error

    def _validation_batch(self, first: Batch) -> tuple[int, ...]:
        val = self._built.source.data.val
        batch = first
        if val is not None:
            indices = np.arange(min(self._size, len(val)))
            batch = self._trainee.convert(*val.batch(indices), len(indices))
        with torch.no_grad():
            tally = self._built.tally()
            self._built.model.eval()
            scored = self._built.objective.score(self._built.model, batch.inputs, batch.targets)
            tally.add(scored, batch.targets, batch.samples)
            tally.result()
            self._built.model.train()
        return tuple(scored.output.shape) if scored.output is not None else ()

    def _checkpoint(self) -> None:
        model = self._built.model
        if sum(p.numel() * p.element_size() for p in model.parameters()) > trial.MAX_CHECKPOINT_BYTES:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._trainee.snapshot().write(Path(folder))
                self._trainee.restore(Path(folder))
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                raise ModelError(f"a checkpoint of the model cannot be written and read back: {error}") from error

    def _look_at_gradients(self) -> None:
        names = [name for name, p in self._built.model.named_parameters() if p.requires_grad and p.grad is None]
        self.findings += trial.about_gradients(names)

    def _look_at_loss(self, first: Batch) -> None:
        self.findings += trial.about_loss(self.initial_loss, self._built.objective.expected_initial_loss)
        if self._trainee.ends_in_softmax(first):
            self.findings.append(trial.about_softmax())


def _fitting_batch(n: int, size: int) -> int:
    """The largest smaller batch size that leaves no single sample, 2 at least."""
    return next((candidate for candidate in range(size - 1, 1, -1) if n % candidate != 1), 2)
