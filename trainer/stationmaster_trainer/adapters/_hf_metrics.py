"""Gathers validation batches whose samples carry loss on several tokens, for the figures of `scores.py`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import scores
from ..loop import Evaluation
from ._hf_columns import CAUSAL
from ._hf_loss import TokenScored


class TokenTally:
    """Mean loss over tokens: perplexity for language models; accuracy and macro-F1 over tokens for tags of words."""

    def __init__(self, kind: str, classes: int) -> None:
        self._kind = kind
        self._classes = classes
        self._totals: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._confusion: Tensor | None = None

    def add(self, scored: TokenScored, targets: Any, samples: int) -> None:
        """One batch."""
        self._totals.append(scored.total.detach())
        self._counts.append(scored.count)
        if self._kind == CAUSAL or scored.output is None or scored.labels is None:
            return
        k = self._classes
        at = scored.labels * k + scored.output.argmax(-1)
        counts = torch.bincount(at, minlength=k * k).reshape(k, k)
        self._confusion = counts if self._confusion is None else self._confusion + counts

    def result(self) -> Evaluation:
        """The figures over everything added.

        The standard error is that of a ratio of two sums over n samples (Cochran 1977, eq. 6.13): √(Σ(s − L·c)² · n /
        (n − 1)) / Σc, for sums s and counts c of the samples and the mean loss L: tokens of one sample go together.
        """
        if not self._totals:
            return Evaluation(math.nan)
        total = torch.cat(self._totals).double().cpu()
        count = torch.cat(self._counts).double().cpu()
        tokens, n = float(count.sum()), len(total)
        if not tokens:
            return Evaluation(math.nan, {}, n)
        loss = float(total.sum()) / tokens
        sem = None
        if n > 1 and math.isfinite(loss):
            sem = math.sqrt(float(((total - loss * count) ** 2).sum()) * n / (n - 1)) / tokens
        return Evaluation(loss, self._metrics(loss), n, sem)

    def _metrics(self, loss: float) -> dict[str, float]:
        if self._kind == CAUSAL:
            return {"perplexity": scores.perplexity(loss)}
        if self._confusion is None:
            return {}
        found = scores.classification(self._confusion.cpu().numpy())
        return {name: value for name, value in found.items() if not name.startswith(scores.ERROR_OF)}
