"""The loss of each task from a model's output, with shapes checked: a silent broadcast trains the wrong thing.

The user's own loss wins. Every mean is over samples, so that a short batch can be weighted by its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .. import objective
from ..objective import IGNORED
from ..user_model import takes_predictions

UserLoss = Callable[..., Any]


@dataclass(frozen=True)
class Scored:
    """A batch of validation data, scored."""

    mean: Tensor
    """Mean loss over the samples, 0-dimensional."""
    per_sample: Tensor | None
    """Loss of each sample (B,), where the loss allows it."""
    output: Tensor | None
    """Logits (B, classes), (B,) for one logit, (B, T, vocabulary), or predictions (B, …)."""


class Objective:
    """What is minimised: `mean` for a training step, `score` for validation."""

    def __init__(self, task: str, outputs: int, classes: int = 0, user_loss: UserLoss | None = None) -> None:
        """`outputs`: classes, vocabulary or target columns, as the data have them."""
        self.task = task
        self._outputs = outputs
        self._classes = classes
        self._user_loss = user_loss
        self._on_predictions = user_loss is not None and takes_predictions(user_loss)
        if user_loss is None and task == "custom":
            raise objective.missing_loss("tensor")

    def weight(self, targets: Any, samples: int) -> int:
        """What a batch weighs beside the others of its step: see `objective.weight`; samples under the user's loss."""
        return samples if self._user_loss is not None else objective.weight(self.task, targets, samples)

    @property
    def expected_initial_loss(self) -> float | None:
        """Loss of a model that knows nothing; None where there is no such number."""
        return None if self._user_loss is not None else objective.expected_initial_loss(self.task, self._outputs)

    def mean(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Mean loss over the batch's samples, differentiable."""
        if self._user_loss is not None:
            return self._user_mean(model, inputs, targets)
        return self._reduced(output_of(model(inputs)), targets, "mean")

    def score(self, model: nn.Module, inputs: Any, targets: Any, want_output: bool = True) -> Scored:
        """Loss and output; a second forward pass only when the user's loss hides the output and metrics want it."""
        if self._user_loss is None:
            output = output_of(model(inputs))
            per_sample = self._reduced(output, targets, "none").float()
            return Scored(per_sample.mean(), per_sample, output)
        mean = self._user_mean(model, inputs, targets)
        return Scored(mean, None, output_of(model(inputs)) if want_output else None)

    def _user_mean(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        assert self._user_loss is not None
        if self._on_predictions:
            loss = self._user_loss(output_of(model(inputs)), targets)
        else:
            loss = self._user_loss(model, (inputs, targets))
        if isinstance(loss, (tuple, list)) and loss:
            loss = loss[0]
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise objective.not_scalar(loss, "tensor")
        return loss.reshape(())

    def _reduced(self, output: Tensor, targets: Any, reduction: str) -> Tensor:
        """The mean loss (`mean`, 0-dimensional) or the loss of each sample (`none`, (B,))."""
        if targets is None:
            raise objective.missing_targets(self.task)
        if self.task == "classification":
            return self._classification(output, targets, reduction)
        if self.task == "language_modeling":
            return self._next_token(output, targets, reduction)
        return self._regression(output, targets, reduction)

    def _classification(self, output: Tensor, targets: Tensor, reduction: str) -> Tensor:
        shape = output.shape
        if len(shape) == 2 and shape[1] == self._classes and shape[0] == targets.shape[0]:
            return F.cross_entropy(output, targets, reduction=reduction)
        if self._classes == 2 and shape in (targets.shape, (*targets.shape, 1)):
            return F.binary_cross_entropy_with_logits(
                output.reshape(targets.shape), targets.to(output.dtype), reduction=reduction
            )
        wanted = f"({len(targets)}, {self._classes}): one logit for each class"
        raise objective.wrong_shape(output.shape, wanted, "num_classes", self._classes)

    def _regression(self, output: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if output.shape != targets.shape:
            if output.shape not in ((*targets.shape, 1), targets.shape[:-1] if targets.shape[-1:] == (1,) else None):
                wanted = f"{tuple(targets.shape)}, as the targets have it"
                raise objective.wrong_shape(output.shape, wanted, "out_features", self._outputs)
            output = output.reshape(targets.shape)
        loss = F.mse_loss(output, targets, reduction=reduction)
        return loss if reduction == "mean" else loss.reshape(len(targets), -1).mean(1)

    def _next_token(self, output: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if output.dim() != 3 or output.shape[:2] != targets.shape or output.shape[2] < self._outputs:
            wanted = f"{(*targets.shape, self._outputs)}: logits over the vocabulary for each token"
            raise objective.wrong_shape(output.shape, wanted, "vocab_size", self._outputs)
        if reduction == "mean":
            total = F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="sum")
            return total / (targets != IGNORED).sum().clamp(min=1)
        each = F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="none").reshape(targets.shape)
        return each.sum(1) / (targets != IGNORED).sum(1).clamp(min=1)


def output_of(output: Any) -> Tensor:
    """The tensor in what a model returned: itself, its logits, or the first tensor of a tuple or mapping."""
    return objective.output_of(output, Tensor, "tensor", "forward()")
