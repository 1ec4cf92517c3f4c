"""Whether the validation part is large enough to see a difference: intervals in words, measured on the simplest answer.

Classification: Wilson's interval of an accuracy. Regression: the mean squared error of always answering the training
mean. Language modelling: the loss of the training part's token frequencies, over sequences. Not covered: two models
compared sample by sample on the same part, which see smaller differences, and the noise of the training itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .dataset import Data, Dataset, WindowDataset, known_targets
from .facts import Finding

SMALL = 100
"""Validation samples below which the noise is a warning; 95 % half-width of a share: up to 10 points."""
MEDIUM = 1000
"""Validation samples below which the noise is mentioned; up to 3 points."""
FEW = 50
"""Training samples below which a warning is due."""
SEQUENCES = 30
"""Validation sequences below which the noise of a language model's loss is a warning."""
Z = 1.96
"""Standard errors in half a 95 % interval."""
_TOKENS = 2_000_000
"""Tokens of each part that are counted."""


def of(data: Data) -> list[Finding]:
    """What the sizes of the parts mean."""
    found = _training(data)
    if data.val is None or not len(data.val):
        return found
    if data.task == "classification":
        return found + _accuracy(len(data.val))
    if data.task == "regression":
        return found + _regression(data, data.val)
    return found + (_language(data, data.val) if data.task == "language_modeling" else [])


def half_width(n: int, share: float = 0.5) -> float:
    """Half of Wilson's 95 % interval of a share of n samples (Wilson 1927)."""
    n = max(1, n)
    return Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)


def _training(data: Data) -> list[Finding]:
    train = len(data.train)
    if train >= FEW or data.task == "language_modeling":
        return []
    message = f"{train} training {data.sample_unit} are few: a network can learn them by heart."
    return [Finding("few_samples", "warning", message, "Collect more data, or use a much smaller model.")]


def _accuracy(n: int) -> list[Finding]:
    if n >= MEDIUM:
        return []
    points, high = 100 * half_width(n), 100 * half_width(n, 0.9)
    near = f" ({high:.0f} near 90 %)" if round(high) != round(points) else ""
    message = f"with {n} validation samples, accuracy differences under {points:.0f} points{near} are noise."
    facts = {"samples": n, "points": round(points, 1), "points_at_90": round(high, 1)}
    return [_small(n < SMALL, message, "Hold out more, or compare several seeds.", facts)]


def _regression(data: Data, val: Dataset) -> list[Finding]:
    """The interval of the mean squared error of the training mean, by the spread of its squared errors."""
    known = known_targets(data.train), known_targets(val)
    if known[0] is None or known[1] is None or len(known[1]) < 2:
        return []
    train, held = (targets.reshape(len(targets), -1).astype(np.float64) for targets in known if targets is not None)
    errors = ((held - train.mean(axis=0)) ** 2).mean(axis=1)
    if not np.isfinite(errors).all() or not errors.mean():
        return []
    n, share = len(errors), Z * errors.std(ddof=1) / math.sqrt(len(errors)) / errors.mean()
    if n >= MEDIUM and share < 0.1:
        return []
    message = (
        f"with {n} validation samples, differences of the mean squared error under {100 * share:.0f} % are noise "
        "(measured on always answering the mean)."
    )
    facts = {"samples": n, "percent": round(100 * share, 1)}
    return [_small(n < SMALL, message, "Hold out more, or compare several seeds.", facts)]


def _language(data: Data, val: Dataset) -> list[Finding]:
    """The interval of the loss of token frequencies, over validation sequences."""
    train, held = _tokens(data.train), _tokens(val)
    if train is None or held is None or len(held) < 2:
        return []
    size = 1 + max(int(train.max()), int(held.max()))
    counts = np.bincount(train.reshape(-1), minlength=size) + 1.0
    losses = -np.log(counts / counts.sum())[held].mean(axis=1)
    points = Z * losses.std(ddof=1) / math.sqrt(len(losses))
    n, unit = len(val), data.sample_unit
    points *= math.sqrt(len(losses) / n)
    message = (
        f"with {n:,} validation {unit}, loss differences under {points:.2g} are noise; token frequencies alone give a "
        f"loss of {losses.mean():.3g}, which the model must beat."
    )
    facts = {"samples": n, "nats": round(points, 4), "baseline": round(float(losses.mean()), 4)}
    return [_small(n < SEQUENCES, message, "Hold out more text.", facts)]


def _tokens(part: Dataset) -> np.ndarray | None:
    """Whole sequences of a part, int64 (N, T)."""
    if isinstance(part, WindowDataset):
        n = max(1, min(len(part), _TOKENS // part.length))
        return part.tokens[: n * part.length].reshape(n, part.length)
    inputs = getattr(part, "inputs", None)
    if inputs is None or inputs.ndim != 2 or inputs.dtype.kind not in "iu":
        return None
    found: np.ndarray = inputs[: max(1, _TOKENS // max(1, inputs.shape[1]))]
    return found


def _small(warning: bool, message: str, advice: str, facts: dict[str, Any]) -> Finding:
    return Finding("small_validation", "warning" if warning else "info", message, advice if warning else "", facts)
