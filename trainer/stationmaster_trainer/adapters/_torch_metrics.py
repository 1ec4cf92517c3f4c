"""Gathers scored validation batches on the device, for the figures of `scores.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import scores
from ..loop import Evaluation
from ._torch_loss import Scored

UserMetrics = Callable[[Tensor, Tensor], Mapping[str, Any]]


class Tally:
    """Takes in scored batches without waiting for the device; `result` waits once."""

    def __init__(
        self,
        task: str,
        classes: int,
        unscale: Callable[[np.ndarray], np.ndarray] | None = None,
        user_metrics: UserMetrics | None = None,
    ) -> None:
        """`unscale` brings predictions and targets of a regression back into the target's own units."""
        self._task = task
        self._classes = classes
        self._unscale = unscale or (lambda values: values)
        self._user_metrics = user_metrics
        self._keeps = user_metrics is not None or task == "regression"
        self._sums: Tensor | None = None
        self._confusion: Tensor | None = None
        self._correct: Tensor | None = None
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._samples = 0
        self._all_per_sample = True

    def add(self, scored: Scored, targets: Any, samples: int) -> None:
        """One batch."""
        self._samples += samples
        mean = _exact(scored.mean.detach()) * samples
        each = _exact(scored.per_sample) if scored.per_sample is not None else None
        self._all_per_sample &= each is not None
        squares = (each * each).sum() if each is not None else torch.zeros_like(mean)
        sums = torch.stack((each.sum() if each is not None else mean, squares))
        self._sums = sums if self._sums is None else self._sums + sums
        if scored.output is None or targets is None:
            return
        if self._task == "classification":
            self._count(scored.output, targets)
        if self._keeps:
            self._kept.append((scored.output.detach().float().cpu(), targets.cpu()))

    def result(self) -> Evaluation:
        """The figures over everything added."""
        if self._sums is None:
            return Evaluation(math.nan)
        total, squares = self._sums.tolist()
        return scores.evaluation(total, squares if self._all_per_sample else None, self._samples, self._metrics)

    def _count(self, output: Tensor, targets: Tensor) -> None:
        one_logit = output.dim() == 1 or output.shape[-1] == 1
        predicted = (output.reshape(targets.shape) > 0).long() if one_logit else output.argmax(-1)
        if 2 <= self._classes <= scores.MAX_CLASSES:
            k = self._classes
            counts = torch.bincount(targets * k + predicted, minlength=k * k).reshape(k, k)
            self._confusion = counts if self._confusion is None else self._confusion + counts
        else:
            correct = (predicted == targets).sum()
            self._correct = correct if self._correct is None else self._correct + correct

    def _metrics(self, loss: float) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._confusion is not None:
            found |= scores.classification(self._confusion.cpu().numpy())
        elif self._correct is not None:
            found["accuracy"] = float(self._correct) / self._samples
        if self._task == "language_modeling":
            found["perplexity"] = scores.perplexity(loss)
        if self._kept:
            predictions = torch.cat([output for output, _ in self._kept])
            targets = torch.cat([target for _, target in self._kept])
            if self._task == "regression":
                found |= scores.regression(predictions.numpy(), targets.numpy(), self._unscale)
            if self._user_metrics is not None:
                found |= scores.called(self._user_metrics, predictions, targets)
        return found


def _exact(tensor: Tensor) -> Tensor:
    """As float64, which MPS does not have."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()
