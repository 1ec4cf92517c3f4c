"""Builds the model on the real data's sizes and feeds it real batches, before anything is started.

It does what a run does: forward, loss and backward of two batches and of the short last batch of an epoch, an optimizer
step with rate 0, a validation batch, and a checkpoint written and read back.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from .. import entry, order
from ..contract import TrainingConfig
from ..errors import ModelError
from ..facts import Finding, ModelFacts
from ..feed import Batch
from . import _torch_build, _torch_device
from ._torch_build import Built
from ._torch_trainee import TorchTrainee

DEFAULT_BATCH = 32
MAX_TRIAL_BYTES = 256 << 20
"""Parameters up to which a checkpoint is written and read back on trial."""
_UNSET: dict[str, Any] = {
    "framework": "pytorch",
    "batch_size": DEFAULT_BATCH,
    "gradient_accumulation": 1,
    "optimizer": "AdamW",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "betas": (0.9, 0.999),
    "warmup_steps": 0,
    "lr_schedule": "constant",
    "total_steps": 1,
    "gradient_clip": 0.0,
    "dropout": None,
    "checkpoint_every": 1,
    "checkpoint_dir": "",
    "log_every": 1,
    "validate_every": 1,
    "logging": (),
    "run_name": "",
    "task": "custom",
    "epochs": 1.0,
}
"""Stand-ins for keys that are not decided yet when the model is measured; none of them changes what is measured."""


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
        _complete(config, len(source.data.train)),
        device,
        "fp32",
        project_dir,
        val=source.data.val,
        tally=built.tally,
    )
    trial = _Trial(built, trainee)
    parameters = list(built.model.parameters())
    return ModelFacts(
        model_name=built.model_name,
        model_args=built.model_args,
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        device=_torch_device.describe(device),
        precisions=_torch_device.precisions(device),
        initial_loss=trial.initial_loss,
        expected_loss=built.objective.expected_initial_loss,
        output_shape=trial.output_shape,
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        free_memory_bytes=free,
        seconds_per_batch=trial.seconds,
        dropout_layers=len(_torch_build.dropout_layers(built.model)),
        entry_sha256=entry.entry_sha256(entry.resolve(config["model_path"], project_dir), project_dir),
        findings=tuple(trial.findings),
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
        if sum(p.numel() * p.element_size() for p in model.parameters()) > MAX_TRIAL_BYTES:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._trainee.snapshot().write(Path(folder))
                self._trainee.restore(Path(folder))
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                raise ModelError(f"a checkpoint of the model cannot be written and read back: {error}") from error

    def _look_at_gradients(self) -> None:
        names = [name for name, p in self._built.model.named_parameters() if p.requires_grad and p.grad is None]
        if names:
            self._find(
                "gradients",
                "warning",
                f"{len(names)} parameters get no gradient, for example {names[0]}.",
                "They stay as they are: is a layer unused, or its output detached?",
                {"without_gradient": names[:10]},
            )

    def _look_at_loss(self, first: Batch) -> None:
        loss, expected = self.initial_loss, self._built.objective.expected_initial_loss
        facts = {"initial_loss": loss, "expected_loss": expected}
        if not math.isfinite(loss):
            self._find("initial_loss", "error", f"the loss of the first batch is {loss}.", _LOOK_FOR_NAN, facts)
        elif expected is not None and loss > max(3.0 * expected, expected + 3.0):
            message = f"the first loss is {loss:.3g}; a model that knows nothing has {expected:.3g}."
            self._find(
                "initial_loss", "warning", message, "Inputs or the last layer's weights are badly scaled.", facts
            )
        if self._trainee.ends_in_softmax(first):
            message = "the model's output looks like probabilities (each row sums to 1), the loss expects logits."
            self._find("softmax", "warning", message, "Remove the softmax at the end of forward().", {})

    def _find(self, check: str, severity: Any, message: str, advice: str, facts: dict[str, Any]) -> None:
        self.findings.append(Finding(check, severity, message, advice, facts))


_LOOK_FOR_NAN = "Look for divisions by zero, logarithms of zero or huge values in the model or the data."


def _complete(config: Mapping[str, Any], n: int) -> TrainingConfig:
    """The configuration with stand-ins for what is not decided yet."""
    known = {field.name: config[field.name] for field in fields(TrainingConfig) if config.get(field.name) is not None}
    needed = [field.name for field in fields(TrainingConfig) if field.default is MISSING]
    filled = {name: _UNSET[name] for name in needed if name in _UNSET} | known
    filled["batch_size"] = max(1, min(int(filled["batch_size"]), n))
    return TrainingConfig(**filled)


def _fitting_batch(n: int, size: int) -> int:
    """The largest smaller batch size that leaves no single sample, 2 at least."""
    return next((candidate for candidate in range(size - 1, 1, -1) if n % candidate != 1), 2)
