"""The loss of a model of Transformers: its own in training, taken apart by sample in validation.

A mean is over what carries loss (samples, or tokens whose label is not -100), across the micro-batches of a step too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._hf_columns import CAUSAL, TOKEN
from ._hf_sequences import IGNORED
from ._torch_loss import Objective, Scored

Compute = Callable[[Any, dict[str, Any]], Tensor]
ROWS = 1024
"""Positions whose logits are turned to fp32 at a time: a vocabulary of 150,000 makes 0.6 GB of them."""


@dataclass(frozen=True)
class TokenScored:
    """A batch of validation data whose samples carry loss on several tokens."""

    total: Tensor
    """(B,): sum of each sample's token losses."""
    count: Tensor
    """(B,): its tokens that carry loss."""
    output: Tensor | None
    """Token classification: logits (tokens, classes) of the tokens that carry loss; else the batch's logits."""
    labels: Tensor | None = None
    """(tokens,) beside it."""


class HeadObjective(Objective):
    """What is minimised by a head of Transformers; inputs are its keyword arguments."""

    def __init__(self, kind: str, outputs: int, scratch: bool, compute: Compute | None = None) -> None:
        """`outputs`: classes or vocabulary; 1 for regression. `scratch`: whether the weights are random."""
        super().__init__(kind, outputs)
        self._scratch = scratch
        self.compute: Compute = compute or _own_loss
        """The model's loss from its inputs with `labels`; the Trainer's `compute_loss` while it trains."""

    @property
    def expected_initial_loss(self) -> float | None:
        """ln(classes) for a new head, ln(vocabulary) for a model from scratch; None where the model knows something."""
        if self._outputs < 2 or (self.task == CAUSAL and not self._scratch):
            return None
        return math.log(self._outputs)

    def weight(self, targets: Any, samples: int) -> int:
        """What a batch weighs beside the others of its step: samples, or the tokens that carry loss."""
        if self.task == CAUSAL:
            return int((targets[:, 1:] != IGNORED).sum())
        return int((targets != IGNORED).sum()) if self.task == TOKEN else samples

    def mean(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Mean loss, differentiable."""
        return self.compute(model, {**self._inputs(inputs), "labels": targets})

    def score(self, model: nn.Module, inputs: Any, targets: Any, want_output: bool = True) -> Any:
        """Scored for one label per sample, TokenScored for labels per token."""
        logits = model(**self._inputs(inputs)).logits
        if self.task == CAUSAL:
            return _next_token(logits, targets)
        if self.task == TOKEN:
            return _tokens(logits, targets)
        if self._outputs == 1:
            each = F.mse_loss(logits.reshape(targets.shape).float(), targets.float(), reduction="none")
        else:
            each = F.cross_entropy(logits.float(), targets, reduction="none")
        return Scored(each.mean(), each, logits)

    def _inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "use_cache": False} if self.task == CAUSAL else inputs


def _own_loss(model: Any, inputs: dict[str, Any]) -> Tensor:
    loss: Tensor = model(**inputs).loss
    return loss


def _next_token(logits: Tensor, labels: Tensor) -> TokenScored:
    """Position t predicts label t + 1."""
    total = []
    for row, label in zip(logits[:, :-1], labels[:, 1:], strict=True):
        losses = [
            F.cross_entropy(part.float(), wanted, ignore_index=IGNORED, reduction="sum")
            for part, wanted in zip(row.split(ROWS), label.split(ROWS), strict=True)
        ]
        total.append(torch.stack(losses).sum())
    return TokenScored(torch.stack(total), (labels[:, 1:] != IGNORED).sum(1), logits)


def _tokens(logits: Tensor, labels: Tensor) -> TokenScored:
    each = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    counted = labels != IGNORED
    return TokenScored(each.sum(1), counted.sum(1), logits[counted], labels[counted])
