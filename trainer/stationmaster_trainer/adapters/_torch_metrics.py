"""What validation counts beside the loss: accuracy, macro-F1; MAE, RMSE, R² in the target's own units; perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..loop import Evaluation
from ._torch_loss import Scored

IMBALANCE = 1.5
"""Largest over smallest class from which macro-F1 is told beside the accuracy."""
MAX_CLASSES = 1000
"""Classes up to which the confusion counts are kept."""

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
        if self._sums is None or not self._samples:
            return Evaluation(math.nan)
        n = self._samples
        total, squares = self._sums.tolist()
        loss, sem = total / n, None
        if self._all_per_sample and n > 1 and math.isfinite(squares):
            sem = math.sqrt(max(0.0, squares / n - loss * loss) / (n - 1))
        return Evaluation(loss, self._metrics(loss), n, sem)

    def _count(self, output: Tensor, targets: Tensor) -> None:
        one_logit = output.dim() == 1 or output.shape[-1] == 1
        predicted = (output.reshape(targets.shape) > 0).long() if one_logit else output.argmax(-1)
        if 2 <= self._classes <= MAX_CLASSES:
            k = self._classes
            counts = torch.bincount(targets * k + predicted, minlength=k * k).reshape(k, k)
            self._confusion = counts if self._confusion is None else self._confusion + counts
        else:
            correct = (predicted == targets).sum()
            self._correct = correct if self._correct is None else self._correct + correct

    def _metrics(self, loss: float) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._confusion is not None:
            found |= _classification(self._confusion.double().cpu())
        elif self._correct is not None:
            found["accuracy"] = float(self._correct) / self._samples
        if self._task == "language_modeling":
            found["perplexity"] = math.exp(loss) if loss < 700 else math.inf
        if self._kept:
            predictions = torch.cat([output for output, _ in self._kept])
            targets = torch.cat([target for _, target in self._kept])
            if self._task == "regression":
                found |= self._regression(predictions, targets)
            if self._user_metrics is not None:
                found |= _called(self._user_metrics, predictions, targets)
        return found

    def _regression(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        if predictions.numel() != targets.numel():
            return {}
        truth = np.asarray(self._unscale(targets.double().numpy()), dtype=np.float64)
        guess = np.asarray(self._unscale(predictions.reshape(targets.shape).double().numpy()), dtype=np.float64)
        error = guess - truth
        found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error * error).mean()))}
        spread = ((truth - truth.mean(0)) ** 2).sum(0)
        if np.all(spread > 0):
            found["r2"] = float(np.mean(1.0 - (error * error).sum(0) / spread))
        return found


def _exact(tensor: Tensor) -> Tensor:
    """As float64, which MPS does not have."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _classification(confusion: Tensor) -> dict[str, float]:
    """Accuracy, and macro-F1 (mean of each class's 2·TP / (2·TP + FP + FN)) when the classes are imbalanced."""
    hits, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    found = {"accuracy": float(hits.sum() / confusion.sum())}
    present = truth > 0
    if truth.max() >= IMBALANCE * truth[present].min():
        f1 = 2 * hits / (truth + predicted).clamp(min=1)
        found["macro_f1"] = float(f1[present].mean())
    return found


def _called(metrics: UserMetrics, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    found = metrics(predictions, targets)
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"metrics(predictions, targets) returned {type(found).__name__}: {error}.",
            "It must return a dictionary of name → number.",
        ) from error
