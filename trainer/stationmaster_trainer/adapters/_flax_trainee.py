"""One Flax model with its optimizer: the step, validation, and what a checkpoint holds.

What a step showed stays on the device until it is ready, two steps later at the latest: the host prepares the next
batch meanwhile, and never runs further ahead than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import failure, randomness, user_model
from ..checkpoint import Snapshot
from ..contract import TrainingConfig
from ..dataset import Dataset
from ..errors import ModelError, StationmasterError
from ..feed import Batch
from ..loop import Evaluation, StepResult
from . import _flax_device, _flax_state, _flax_step
from ._flax_loss import Objective
from ._flax_metrics import Tally
from ._flax_model import Pure
from ._flax_probe import Probe
from ._flax_step import Seen, State

AHEAD = 2
"""Steps that may be on their way while the next one is prepared."""


class FlaxTrainee:
    """Implements `attempt.Continuable`."""

    def __init__(
        self,
        pure: Pure,
        objective: Objective,
        config: TrainingConfig,
        device: Any,
        precision: str,
        project_dir: Path,
        val: Dataset | None = None,
        tally: Callable[[], Tally] | None = None,
        write_more: Callable[[Path], object] = lambda folder: None,
    ) -> None:
        """`write_more` adds files to each checkpoint."""
        self.pure, self.objective, self.config, self.precision = pure, objective, config, precision
        self.now: State = jax.device_put(_flax_step.start(pure, config), device)
        self.done = 0
        """Optimizer steps since step 0: the random numbers of a step follow from it."""
        self._device, self._project_dir = device, project_dir
        self.val = val
        """What `evaluate` scores."""
        self._tally = tally or (lambda: Tally(config.task, 0))
        self._write_more = write_more
        wants = self._tally()
        self._steps = _flax_step.make(pure, objective, config, precision, wants.wants_output, wants.wants_classes)
        # Rows that only fill a batch up would enter into statistics over the batch: then a short one stays short.
        self._fills_up = objective.by_sample and not pure.state
        self._seen: deque[Seen] = deque()
        self._results: list[StepResult] = []
        self._buffers = _flax_state.Buffers()
        self._probe = Probe()

    def compile(self, data: Dataset) -> None:
        """Compiles the step for whole batches of the data, so that the first step is no slower than the others.

        ModelError when the model does not take them: this is where its code runs first.
        """
        rows = np.arange(min(self.config.batch_size, len(data)))
        with randomness.preserved():
            batch = self.convert(*data.batch(rows), len(rows))
        told = _flax_step.arguments(self.config, 0.0, batch.weight, 0, 0, batch.samples)
        try:
            if self.config.gradient_accumulation == 1:
                self._steps.whole.lower(self.now, batch.inputs, batch.targets, *told).compile()
            else:
                sums, now = self._steps.nothing(self.now.params), self.now
                self._steps.add.lower(sums, now.params, now.state, batch.inputs, batch.targets, *told).compile()
                self._steps.finish.lower(now, now.state, sums, told[0]).compile()
        except Exception as error:
            if isinstance(error, StationmasterError) or failure.cause_of(error) != "exception":
                raise
            raise _does_not_fit(error, batch, self._project_dir) from error

    def step(self, batches: Sequence[Batch], learning_rate: float) -> None:
        """One optimizer step; see `loop.Trainee`."""
        self._update(batches, learning_rate)
        self._read(AHEAD)

    def probe(self, batches: Sequence[Batch], learning_rate: float) -> dict[str, Any]:
        """The same step with a look at what it changed."""
        before = self._probe.sample(self.now.params)
        seen = self._update(batches, learning_rate)
        loss, _, bad = np.asarray(seen.figures).tolist()
        facts: dict[str, Any] = {"loss": loss, "expected_loss": self.objective.expected_initial_loss}
        if bad:  # an update that was left out says nothing about the layers
            return facts
        return facts | self._probe.facts(before, self._probe.sample(self.now.params), seen.norms, seen.silent)

    def drain(self) -> list[StepResult]:
        """Results since the last call; waits for the steps on their way."""
        self._read(0)
        results, self._results = self._results, []
        return results

    def evaluate(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Mean loss and metrics over the validation data, dropout and batch statistics switched to evaluation."""
        if self.val is None:
            return None
        tally, size, n = self._tally(), self.config.batch_size, len(self.val)
        with randomness.preserved():
            for begin in range(0, n, size):
                if stopped():
                    return None
                rows = np.arange(begin, min(begin + size, n))
                tally.add(*self.scored(*self.val.batch(rows)), len(rows))
        return tally.result()

    def scored(self, inputs: Any, targets: Any) -> tuple[dict[str, Any], Any]:
        """A validation batch on its way, filled up to the whole size where its rows are scored one by one."""
        targets = None if targets is None else _narrow(targets)
        inputs = _narrow(inputs)
        if self.objective.by_sample:
            inputs, targets = self._filled(inputs), None if targets is None else self._filled(targets)
        return self._steps.score(self.now.params, self.now.state, inputs, targets), targets

    def snapshot(self) -> Snapshot:
        """A copy of parameters, other state, optimizer state and the generators of python and numpy."""
        return _flax_state.take(self.pure, self.now, self.done, self._buffers, self._write_more)

    def restore(self, folder: Path) -> None:
        """Continues from a verified checkpoint."""
        self.now, found = _flax_state.load(self.pure, self.now, folder, self._device)
        self.done = int(found["step"])
        randomness.restore(found["rng"])

    def load(self, folder: Path) -> None:
        """Takes over the model of a verified checkpoint, without what only a resume needs."""
        params, state = _flax_state.load_model(self.pure, self.now, folder, self._device)
        self.now = self.now._replace(params=params, state=state)

    def convert(self, inputs: Any, targets: Any, samples: int) -> Batch:
        """Arrays of a data set as a batch; a short one is filled up, so that nothing is compiled for it."""
        weight = self.objective.weight(targets, samples)
        arrays = [_narrow(inputs), None if targets is None else _narrow(targets)]
        if self._fills_up:
            arrays = [None if array is None else self._filled(array) for array in arrays]
        if self._device.platform != "cpu":
            arrays = [None if array is None else jax.device_put(array, self._device) for array in arrays]
        return Batch(arrays[0], arrays[1], samples, weight)

    def peak_memory(self) -> int | None:
        """Bytes; see `attempt.Continuable`."""
        return _flax_device.peak_memory(self._device)

    def room(self) -> int | None:
        """Bytes; see `attempt.Continuable`."""
        free = _flax_device.free_memory(self._device)
        return None if free is None else free + _flax_device.held_memory(self._device)

    def _filled(self, array: np.ndarray) -> np.ndarray:
        """Up to `batch_size` rows, the last one repeated: real values, which no layer can choke on."""
        missing = self.config.batch_size - len(array)
        return np.concatenate((array, np.repeat(array[-1:], missing, axis=0))) if missing > 0 else array

    def _update(self, batches: Sequence[Batch], learning_rate: float) -> Seen:
        total = float(sum(batch.weight for batch in batches))
        self.done += 1
        seen: Seen
        if self.config.gradient_accumulation == 1:
            (batch,) = batches
            told = _flax_step.arguments(self.config, learning_rate, total, self.done, 0, batch.samples)
            self.now, seen = self._steps.whole(self.now, batch.inputs, batch.targets, *told)
        else:
            sums, state = self._steps.nothing(self.now.params), self.now.state
            for part, batch in enumerate(batches):
                told = _flax_step.arguments(self.config, learning_rate, total, self.done, part, batch.samples)
                sums, state = self._steps.add(sums, self.now.params, state, batch.inputs, batch.targets, *told)
            self.now, seen = self._steps.finish(self.now, state, sums, told[0])
        self._seen.append(seen)
        return seen

    def _read(self, ahead: int) -> None:
        """Figures of the steps that are ready, and of the oldest ones beyond `ahead`, for which it waits."""
        while self._seen and (len(self._seen) > ahead or self._seen[0].figures.is_ready()):
            loss, norm, bad = np.asarray(self._seen.popleft().figures).tolist()
            self._results.append(StepResult(loss, norm, bool(bad)))


def _narrow(array: Any) -> np.ndarray:
    """JAX computes with 32 bits: whole numbers of 64 would be cut at each call."""
    return np.asarray(array, dtype=np.int32) if np.asarray(array).dtype == np.int64 else np.asarray(array)


def _does_not_fit(error: Exception, batch: Batch, project_dir: Path) -> ModelError:
    shapes = f"inputs {_shape(batch.inputs)}, targets {_shape(batch.targets)}"
    return ModelError(
        f"the model fails on its first batch ({shapes}) at {user_model.place(error, project_dir)}: "
        f"{user_model.describe(error)}",
        _VALUES
        if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError)
        else _FIT,
    )


_FIT = "Make the model fit the data's shape: correct the file, or set model_args."
_VALUES = "Values are not known while JAX compiles: take jnp.where or lax.cond for `if`, and no float() or numpy there."


def _shape(array: Any) -> str:
    return f"{tuple(array.shape)} {array.dtype}" if array is not None else "none"
