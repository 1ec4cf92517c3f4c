"""One model with its optimizer in PyTorch: the step, validation, and what a checkpoint holds.

On the CPU loss and norm are read at every step. On a device nothing waits: they gather in a ring that is read when a
record is due, clipping and skipping are left to the fused optimizer through `grad_scale` and `found_inf`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import failure, user_model
from ..checkpoint import Snapshot
from ..contract import TrainingConfig
from ..dataset import Dataset
from ..errors import ModelError, StationmasterError
from ..feed import Batch
from ..loop import Evaluation, StepResult
from ..objective import looks_like_probabilities
from . import _torch_state
from ._torch_device import free_memory, held_memory, peak_memory, preserved_rng
from ._torch_loss import Objective, output_of
from ._torch_metrics import Tally
from ._torch_optimizer import FIRST_SCALE, LossScale, make_optimizer, plain_step
from ._torch_probe import Probe

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchTrainee:
    """Implements `loop.Trainee`."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: TrainingConfig,
        device: torch.device,
        precision: str,
        project_dir: Path,
        val: Dataset | None = None,
        tally: Callable[[], Tally] | None = None,
        write_more: Callable[[Path], object] = lambda folder: None,
        deferred: bool | None = None,
        loss_scale: float | None = None,
        groups: Sequence[dict[str, Any]] = (),
        form: _torch_state.Form | None = None,
    ) -> None:
        """`model` is on `device` already. `write_more` adds files to each checkpoint.

        `deferred`: whether figures gather on the device until they are read; None: on CUDA devices. `loss_scale`: where
        the dynamic scale starts; None: 65,536 for fp16, no scale otherwise. `groups`: of the optimizer, with all
        parameters that learn; none: one group. `form`: what of the model a checkpoint holds; None: all of it.
        """
        self.model = model.train()
        self.objective = objective
        self.precision = precision
        self.updates = 0
        """Steps done in this process."""
        self._project_dir = project_dir
        self.config = self._config = config
        self._device = device
        self.val = val
        """What `evaluate` scores."""
        self._tally = tally or (lambda: Tally(config.task, 0))
        self._write_more = write_more
        self._named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not self._named:
            raise ModelError("no parameter of the model gets a gradient: nothing to train.", "Check requires_grad.")
        self._parameters = [parameter for _, parameter in self._named]
        self.optimizer = make_optimizer(config, list(groups) or self._parameters)
        self._apply = plain_step(self.optimizer)
        self._groups = self.optimizer.param_groups
        self._autocast = torch.autocast(device.type, dtype=DTYPES[precision]) if precision in DTYPES else nullcontext()
        self._statistics = [s for module in model.modules() for s in _running_statistics(module)]
        self._good_statistics = [s.clone() for s in self._statistics]
        self._form = form or _torch_state.plain(model)
        self._buffers = _torch_state.Buffers()
        self._results: list[StepResult] = []
        self._deferred = device.type == "cuda" if deferred is None else deferred
        self._deferred &= bool(self.optimizer.defaults.get("fused"))
        self._ring = torch.zeros(max(1, config.log_every), 4, device=device) if self._deferred else None
        self._filled = 0
        start = loss_scale or (FIRST_SCALE if precision == "fp16" else None)
        self._scale = LossScale(start, device) if start else None
        if self._scale is not None and not self._deferred:
            raise ModelError("fp16 needs a CUDA device.", "Set precision to fp32.")

    def step(self, batches: Sequence[Batch], learning_rate: float) -> None:
        """One optimizer step; see `loop.Trainee`."""
        self.update(self.backward(batches), learning_rate)

    def probe(self, batches: Sequence[Batch], learning_rate: float) -> dict[str, Any]:
        """The same step with a look at what it changed."""
        return self.probed_update(self.backward(batches), learning_rate)

    def probed_update(self, loss: Tensor, learning_rate: float) -> dict[str, Any]:
        """`update` with a look at what it changed."""
        probe = Probe(self._named, float(self._scale.value) if self._scale else 1.0)
        self.update(loss, learning_rate)
        value, facts = float(loss), probe.facts()
        if not all(map(math.isfinite, (value, *facts["grad_norm"].values()))):
            facts = {}  # an update that was left out says nothing about the layers
        return {"loss": value, "expected_loss": self.objective.expected_initial_loss, **facts}

    def drain(self) -> list[StepResult]:
        """Results since the last call; on a device the one place that waits for it."""
        if self._ring is not None:
            rows = self._ring[: self._filled].tolist()
            self._filled = 0
            return [_result(*row) for row in rows]
        results, self._results = self._results, []
        return results

    def evaluate(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Mean loss and metrics over the validation data, dropout and batch statistics switched to evaluation."""
        if self.val is None:
            return None
        tally, size, n = self._tally(), self._config.batch_size, len(self.val)
        self.model.eval()
        try:
            with preserved_rng(), torch.no_grad():
                for start in range(0, n, size):
                    if stopped():
                        return None
                    tally.add(*self._scored(range(start, min(start + size, n))))
                return tally.result()
        finally:
            self.model.train()

    def snapshot(self) -> Snapshot:
        """A copy of parameters, buffers, optimizer state, loss scale and random generators."""
        more = {"loss_scale": self._scale.state() if self._scale else None}
        return _torch_state.take(self._form, self.optimizer, more, self._buffers, self._write_more)

    def restore(self, folder: Path) -> dict[str, Any]:
        """Continues from a verified checkpoint. Returns the state of the random generators, to be set last."""
        self._form.read(folder)
        _torch_state.load_optimizer(self.optimizer, folder)
        self._groups = self.optimizer.param_groups
        self._good_statistics = [s.clone() for s in self._statistics]
        state = _torch_state.read_state(folder)
        if self._scale and state.get("loss_scale"):
            self._scale.load(state["loss_scale"])
        rng: dict[str, Any] = state["rng"]
        return rng

    def convert(self, inputs: Any, targets: Any, samples: int) -> Batch:
        """Arrays of a data set (or a mapping of them) as tensors on the device; the copy does not wait."""
        weight = self.objective.weight(targets, samples)
        return Batch(self._tensor(inputs), None if targets is None else self._tensor(targets), samples, weight)

    def peak_memory(self) -> int | None:
        """Bytes; see `attempt.Continuable`."""
        return peak_memory(self._device)

    def room(self) -> int | None:
        """Bytes; see `attempt.Continuable`."""
        free = free_memory(self._device)
        return None if free is None else free + held_memory(self._device)

    def _tensor(self, array: Any) -> Any:
        if isinstance(array, dict):
            return {name: self._tensor(one) for name, one in array.items()}
        tensor = torch.from_numpy(array)
        if self._device.type == "cpu":
            return tensor
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """Gradients of the mean loss over the step's samples, whatever their micro-batches; returns that loss."""
        try:
            return self._gradients_of_mean(batches)
        except Exception as error:
            if self.updates or isinstance(error, StationmasterError) or failure.cause_of(error) != "exception":
                raise
            raise _does_not_fit(error, batches[0], self._project_dir) from error

    def _gradients_of_mean(self, batches: Sequence[Batch]) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        total = sum(batch.weight for batch in batches)
        loss: Tensor | None = None
        for batch in batches:
            with self._autocast:
                part = self.objective.mean(self.model, batch.inputs, batch.targets)
            if batch.weight != total:
                part = part * (batch.weight / total)
            (part * self._scale.value if self._scale else part).backward()
            loss = part.detach() if loss is None else loss + part.detach()
        assert loss is not None
        return loss

    def _gradients(self) -> list[Tensor]:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if not gradients:
            raise ModelError(
                "the loss reaches no parameter: every gradient is missing.",
                "Look for .detach(), .item() or torch.no_grad() between the model and the loss.",
            )
        return gradients

    def update(self, loss: Tensor, learning_rate: float) -> None:
        """Clips and applies the gradients of `loss`; leaves the update out when something in it is not finite."""
        if self._deferred:
            self._update_deferred(loss, learning_rate)
        else:
            self._update_now(loss, learning_rate)
        self.updates += 1

    def _update_now(self, loss: Tensor, learning_rate: float) -> None:
        gradients, clip = self._gradients(), self._config.gradient_clip
        measured = _norm(gradients)
        value, norm = loss.item(), measured.item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            _copy(self._statistics, self._good_statistics)
            self._results.append(StepResult(value, norm, True))
            return
        if 0.0 < clip < norm + 1e-6:  # in fp32, to the last bit what torch.nn.utils.clip_grad_norm_ does
            torch._foreach_mul_(gradients, (clip / (measured + 1e-6)).clamp(max=1.0))
        for group in self._groups:
            group["lr"] = learning_rate
        self._apply()
        _copy(self._good_statistics, self._statistics)
        self._results.append(StepResult(value, norm))

    def _update_deferred(self, loss: Tensor, learning_rate: float) -> None:
        """The same without waiting: the fused kernel divides by `grad_scale` and does nothing if `found_inf` is 1."""
        assert self._ring is not None
        norm, clip = _norm(self._gradients()), self._config.gradient_clip
        scale = self._scale.value.clone() if self._scale else norm.new_ones(())
        norm = norm / scale
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        self._ring[self._filled] = torch.stack((loss.float(), norm.float(), bad.float(), scale))
        self._filled += 1
        factor = scale * ((norm + 1e-6) / clip).clamp(min=1.0) if clip > 0 else scale
        self.optimizer.grad_scale = torch.where(bad, torch.ones_like(factor), factor).float()
        self.optimizer.found_inf = bad.float()
        for group in self._groups:
            group["lr"] = learning_rate
        self._apply()
        for now, good in zip(self._statistics, self._good_statistics, strict=True):
            now.copy_(torch.where(bad, good, now))
            good.copy_(now)
        if self._scale:
            self._scale.update(bad)

    def _scored(self, span: range) -> tuple[Any, Any, int]:
        assert self.val is not None
        batch = self.convert(*self.val.batch(np.arange(span.start, span.stop)), len(span))
        with self._autocast:
            return self.objective.score(self.model, batch.inputs, batch.targets), batch.targets, len(span)

    def ends_in_softmax(self, batch: Batch) -> bool:
        """Whether the model gives probabilities where the loss wants logits."""
        if self.objective.task != "classification":
            return False
        with preserved_rng(), torch.no_grad(), self._autocast:
            output = output_of(self.model.eval()(batch.inputs))
            return looks_like_probabilities(output.float().cpu().numpy())


def _does_not_fit(error: Exception, batch: Batch, project_dir: Path) -> ModelError:
    shapes = f"inputs {_shape(batch.inputs)}, targets {_shape(batch.targets)}"
    return ModelError(
        f"the model fails on its first batch ({shapes}) at {user_model.place(error, project_dir)}: "
        f"{user_model.describe(error)}",
        "Make the model fit the data's shape: correct the file, or set model_args.",
    )


def _shape(tensor: Any) -> str:
    if isinstance(tensor, dict):
        return ", ".join(f"{name} {_shape(one)}" for name, one in tensor.items())
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" if tensor is not None else "none"


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def _running_statistics(module: nn.Module) -> list[Tensor]:
    """A batch norm's mean and variance: one non-finite batch would poison them although its update is skipped."""
    found = (getattr(module, name, None) for name in ("running_mean", "running_var"))
    return [tensor for tensor in found if isinstance(tensor, Tensor)]


def _copy(into: list[Tensor], source: list[Tensor]) -> None:
    if into:
        torch._foreach_copy_(into, source)


def _result(loss: float, norm: float, bad: float, scale: float) -> StepResult:
    """A row of the ring. An infinite norm under a loss scale above 1 is the scale's overflow, not the gradient's."""
    overflow = bool(bad) and math.isfinite(loss) and scale > 1.0
    return StepResult(loss, None if overflow else norm, bool(bad))
