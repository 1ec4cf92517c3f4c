"""The loss of each task from a model's output, with shapes checked: a silent broadcast trains the wrong thing.

The user's own loss wins. Every mean is over samples, so that a short batch can be weighted by its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from ..user_model import takes_predictions

UserLoss = Callable[..., Any]
IGNORED = -100
"""Target token that counts for nothing (padding), as in torch's cross entropy."""


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
            raise ModelError(
                "the task is custom, and the model file defines no loss.",
                "Define loss(model, batch) in the model file: batch is (inputs, targets), the result a scalar tensor.",
            )

    def weight(self, targets: Any, samples: int) -> int:
        """What a batch weighs beside the others of its step: samples, or the tokens in `targets` (array) that count."""
        if self._user_loss is None and self.task == "language_modeling" and targets is not None:
            return int((targets != IGNORED).sum())
        return samples

    @property
    def expected_initial_loss(self) -> float | None:
        """Loss of a model that knows nothing: ln(classes) or ln(vocabulary); None where there is no such number."""
        if self._user_loss is not None or self.task not in ("classification", "language_modeling"):
            return None
        return math.log(max(2, self._outputs))

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
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError(
                f"loss(model, batch) returned {found}.", "Return one scalar tensor: the mean over the batch."
            )
        return loss.reshape(())

    def _reduced(self, output: Tensor, targets: Any, reduction: str) -> Tensor:
        """The mean loss (`mean`, 0-dimensional) or the loss of each sample (`none`, (B,))."""
        if targets is None:
            way_out = "Name the target column, or define loss(model, batch)."
            raise ModelError(f"the data have no targets for {self.task}.", way_out)
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
        raise _wrong_shape(output, wanted, "num_classes", self._classes)

    def _regression(self, output: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if output.shape != targets.shape:
            if output.shape not in ((*targets.shape, 1), targets.shape[:-1] if targets.shape[-1:] == (1,) else None):
                wanted = f"{tuple(targets.shape)}, as the targets have it"
                raise _wrong_shape(output, wanted, "out_features", self._outputs)
            output = output.reshape(targets.shape)
        loss = F.mse_loss(output, targets, reduction=reduction)
        return loss if reduction == "mean" else loss.reshape(len(targets), -1).mean(1)

    def _next_token(self, output: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if output.dim() != 3 or output.shape[:2] != targets.shape or output.shape[2] < self._outputs:
            wanted = f"{(*targets.shape, self._outputs)}: logits over the vocabulary for each token"
            raise _wrong_shape(output, wanted, "vocab_size", self._outputs)
        if reduction == "mean":
            total = F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="sum")
            return total / (targets != IGNORED).sum().clamp(min=1)
        each = F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="none").reshape(targets.shape)
        return each.sum(1) / (targets != IGNORED).sum(1).clamp(min=1)


def output_of(output: Any) -> Tensor:
    """The tensor in what a model returned: itself, its logits, or the first tensor of a tuple or mapping."""
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    parts = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        if isinstance(part, Tensor):
            return part
    raise ModelError(
        f"the model returned {type(output).__name__}, in which no tensor was found.",
        "forward() must return a tensor, a tuple that starts with one, or something with .logits.",
    )


def looks_like_probabilities(output: Tensor) -> bool:
    """Whether rows (B, classes) are in [0, 1] and sum to 1: a softmax before a loss that applies its own."""
    if output.dim() != 2 or output.shape[1] < 2:
        return False
    rows = output.detach().float()
    return bool(((rows >= 0) & (rows <= 1)).all() and torch.allclose(rows.sum(1), rows.new_ones(len(rows)), atol=1e-4))


def _wrong_shape(output: Tensor, wanted: str, argument: str, value: int) -> ModelError:
    return ModelError(
        f"the model's output has shape {tuple(output.shape)}, wanted {wanted}.",
        f"Make the last layer fit (for example model_args: {{{argument}: {value}}}), or define loss(model, batch).",
    )
