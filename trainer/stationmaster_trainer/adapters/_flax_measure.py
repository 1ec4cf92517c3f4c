"""Builds the model on the real data's sizes and feeds it real batches, before anything is started.

It does what a run does: optimizer steps with rate 0 on two batches and on the short last batch of an epoch, a
validation batch, and a checkpoint written and read back.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import entry, order, trial
from ..errors import ModelError
from ..facts import Finding, ModelFacts
from ..feed import Batch
from ..objective import looks_like_probabilities
from . import _flax_build, _flax_device
from ._flax_build import Built
from ._flax_metrics import Tally
from ._flax_model import Arrays, bytes_of
from ._flax_trainee import FlaxTrainee

NOISE = 1e-2
"""Added to the parameters to tell those that nothing depends on from those behind a layer that starts at zero."""


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Raises ModelError or DataError for whatever would end the run at its first steps."""
    asked = str(config.get("device") or "auto")
    _flax_device.prepare(asked, int(config.get("num_threads") or 0))
    device = _flax_device.choose(asked)
    free = _flax_device.free_memory(device)
    source = _flax_build.read(config, project_dir)
    built = _flax_build.build(config, project_dir, source, device)
    complete = trial.complete(config, len(source.data.train))

    def tally() -> Tally:
        made = built.tally()
        made.wants_output = True
        return made

    trainee = FlaxTrainee(
        built.pure, built.objective, complete, device, "fp32", project_dir, val=source.data.val, tally=tally
    )
    trainee.compile(source.data.train)
    tried = _Trial(built, trainee, tally())
    parameters = sum(int(np.prod(array.shape)) for array in built.pure.params.values())
    return ModelFacts(
        model_name=built.model_name,
        model_args=built.model_args,
        parameters=parameters,
        trainable_parameters=parameters,
        device=_flax_device.describe(device),
        precisions=_flax_device.precisions(device),
        initial_loss=tried.initial_loss,
        expected_loss=built.objective.expected_initial_loss,
        output_shape=tried.output_shape,
        parameter_bytes=bytes_of(built.pure.params),
        free_memory_bytes=free,
        seconds_per_batch=tried.seconds,
        dropout_layers=built.pure.dropout_layers,
        entry_sha256=entry.entry_sha256(entry.resolve(config["model_path"], project_dir), project_dir),
        findings=(*_overlooked(device), *tried.findings),
    )


class _Trial:
    """Everything that a run does, once."""

    def __init__(self, built: Built, trainee: FlaxTrainee, tally: Tally) -> None:
        self._built, self._trainee = built, trainee
        self.findings: list[Finding] = []
        self._data = built.source.data.train
        self._size, self._seed = trainee.config.batch_size, trainee.config.seed
        first = self._batch(0)
        self.initial_loss = self._loss(first)
        second = self._batch(1 if len(self._data) > self._size else 0)
        begun = time.perf_counter()
        self._loss(second)
        self.seconds = time.perf_counter() - begun
        self._loss(self._batch(order.batches_per_epoch(self._size, len(self._data)) - 1))
        self.findings += trial.about_loss(self.initial_loss, built.objective.expected_initial_loss)
        self.output_shape = self._validation_batch(tally)
        self._checkpoint()
        self._look_at_gradients(first)

    def _batch(self, number: int) -> Batch:
        indices = order.batch_indices(self._seed, number, self._size, len(self._data))
        return self._trainee.convert(*self._data.batch(indices), len(indices))

    def _loss(self, batch: Batch) -> float:
        """Mean loss of an optimizer step with rate 0, which changes no parameter."""
        self._trainee.step((batch,), 0.0)
        return self._trainee.drain()[-1].loss

    def _validation_batch(self, tally: Tally) -> tuple[int, ...]:
        data = self._built.source.data.val or self._data
        rows = np.arange(min(self._size, len(data)))
        scored, targets = self._trainee.scored(*data.batch(rows))
        tally.add(scored, targets, len(rows))
        tally.result()
        output = np.asarray(scored["output"])[: len(rows)]
        if self._built.objective.by_sample and self._built.objective.task == "classification":
            self.findings += [trial.about_softmax()] if looks_like_probabilities(output) else []
        return tuple(output.shape)

    def _checkpoint(self) -> None:
        if bytes_of(self._built.pure.params) > trial.MAX_CHECKPOINT_BYTES:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._trainee.snapshot().write(Path(folder))
                self._trainee.restore(Path(folder))
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                raise ModelError(f"a checkpoint of the model cannot be written and read back: {error}") from error

    def _look_at_gradients(self, batch: Batch) -> None:
        now = self._trainee.now
        noisy = jax.jit(_noisy)(now.params)
        self._trainee.now = now._replace(params=noisy)
        norms = self._trainee.probe((batch,), 0.0).get("without_gradient", [])
        self.findings += trial.about_gradients(norms)


def _noisy(params: Arrays) -> Arrays:
    return {name: value + NOISE * _scattered(value, number) for number, (name, value) in enumerate(params.items())}


def _scattered(like: Any, number: int) -> Any:
    """Values in [-1, 1) by hashing the index (the finisher of MurmurHash3): compiled in a hundredth of the time that
    random numbers take."""
    bits = jax.lax.iota(np.uint32, like.size) + np.uint32(number * 0x9E3779B9 & 0xFFFFFFFF)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        bits = (bits ^ (bits >> 16)) * np.uint32(factor)
    return ((bits >> 8).astype(like.dtype) / (1 << 23) - 1).reshape(like.shape)


def _overlooked(device: Any) -> list[Finding]:
    message = _flax_device.overlooked_gpu(device)
    if not message:
        return []
    return [
        Finding("device", "warning", f"{message}.", "Install JAX for it: pip install -U 'jax[cuda12]' (or cuda13).")
    ]
