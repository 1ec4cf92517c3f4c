"""Gathers what the jitted validation batches showed, for the figures of `scores.py`.

A batch is read when the next one is on its way: the device never waits for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from .. import scores
from ..loop import Evaluation

UserMetrics = Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]


class Tally:
    """`add` every batch in order, then `result`."""

    def __init__(
        self,
        task: str,
        classes: int,
        unscale: Callable[[np.ndarray], np.ndarray] | None = None,
        user_metrics: UserMetrics | None = None,
    ) -> None:
        """`unscale` brings predictions and targets of a regression back into the target's own units."""
        self.wants_output = user_metrics is not None or task == "regression"
        """Whether outputs must be in what is added."""
        self.wants_classes = task == "classification"
        """Whether predicted classes must be."""
        self._task, self._classes = task, classes
        self._unscale = unscale or (lambda values: values)
        self._user_metrics = user_metrics
        self._last: tuple[dict[str, Any], np.ndarray | None, int] | None = None
        self._total = self._squares = 0.0
        self._samples, self._correct = 0, 0
        self._all_by_sample = True
        self._confusion: np.ndarray | None = None
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, scored: dict[str, Any], targets: np.ndarray | None, samples: int) -> None:
        """One batch: what `Steps.score` returned, and the targets (B, …); rows beyond `samples` only fill it up."""
        before, self._last = self._last, (scored, targets, samples)
        if before is not None:
            self._count(*before)

    def result(self) -> Evaluation:
        """The figures over everything added."""
        if self._last is not None:
            self._count(*self._last)
            self._last = None
        squares = self._squares if self._all_by_sample else None
        return scores.evaluation(self._total, squares, self._samples, self._metrics)

    def _count(self, scored: dict[str, Any], targets: np.ndarray | None, samples: int) -> None:
        read = {name: np.asarray(value) for name, value in jax.device_get(scored).items()}
        self._samples += samples
        if "each" in read:
            each = read["each"][:samples].astype(np.float64)
            self._total += float(each.sum())
            self._squares += float((each * each).sum())
        else:
            self._all_by_sample = False
            self._total += float(read["mean"]) * samples
        if targets is None:
            return
        if "predicted" in read:
            self._compare(read["predicted"][:samples].astype(np.int64), targets[:samples])
        if "output" in read:
            self._kept.append((read["output"][:samples], targets[:samples]))

    def _compare(self, predicted: np.ndarray, targets: np.ndarray) -> None:
        k = self._classes
        self._correct += int((predicted == targets).sum())
        if 2 <= k <= scores.MAX_CLASSES:
            counts = np.bincount(targets.astype(np.int64) * k + predicted, minlength=k * k).reshape(k, k)
            self._confusion = counts if self._confusion is None else self._confusion + counts

    def _metrics(self, loss: float) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._confusion is not None:
            found |= scores.classification(self._confusion)
        elif self.wants_classes and not math.isnan(loss):
            found["accuracy"] = self._correct / self._samples
        if self._task == "language_modeling":
            found["perplexity"] = scores.perplexity(loss)
        if self._kept:
            predictions, targets = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
            if self._task == "regression":
                found |= scores.regression(predictions, targets, self._unscale)
            if self._user_metrics is not None:
                found |= scores.called(self._user_metrics, predictions, targets)
        return found
