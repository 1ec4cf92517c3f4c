"""What validation counts beside the loss: accuracy, macro-F1; MAE, RMSE, R² in the target's own units; perplexity.

On numpy arrays, for every framework; the adapters gather them. A metric that the data do not allow is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import ModelError
from .loop import Evaluation

IMBALANCE = 1.5
"""Largest over smallest class from which macro-F1 is told beside the accuracy."""
MAX_CLASSES = 1000
"""Classes up to which the confusion counts are kept."""
ERROR_OF = "standard error of "
"""Begins the name under which a function here gives a metric's standard error beside the metric."""


def evaluation(
    total: float, squares: float | None, samples: int, metrics: Callable[[float], dict[str, float]]
) -> Evaluation:
    """From the sum of the samples' losses, and of their squares where each is known. `metrics` takes the mean loss.

    For figures that count each sample once.
    """
    if not samples:
        return Evaluation(math.nan)
    loss, sem = total / samples, None
    if squares is not None and samples > 1 and math.isfinite(squares):
        sem = math.sqrt(max(0.0, squares / samples - loss * loss) / (samples - 1))
    found = metrics(loss)
    figures = {name: value for name, value in found.items() if not name.startswith(ERROR_OF)}
    errors = {name.removeprefix(ERROR_OF): value for name, value in found.items() if name not in figures}
    return Evaluation(loss, figures, samples, sem, errors, samples if "accuracy" in figures else None)


def classification(confusion: np.ndarray) -> dict[str, float]:
    """Accuracy, and macro-F1 (mean of each class's 2·TP / (2·TP + FP + FN)) when the classes are imbalanced.

    confusion: counts (k, k), true class by predicted class. Macro-F1 comes with its standard error by the delta method
    (Takahashi et al. 2022, "Confidence interval for micro-averaged F1 and macro-averaged F1 scores").
    """
    counts = confusion.astype(np.float64)
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    found = {"accuracy": float(hits.sum() / counts.sum())}
    present = truth > 0
    if truth.max() >= IMBALANCE * truth[present].min():
        both = np.maximum(truth + predicted, 1)
        f1 = 2 * hits / both
        found["macro_f1"] = float(f1[present].mean())
        found[ERROR_OF + "macro_f1"] = _error_of_f1(counts, both, f1, present)
    return found


def _error_of_f1(counts: np.ndarray, both: np.ndarray, f1: np.ndarray, present: np.ndarray) -> float:
    """√(n/(n−1) · Σ counts · g²), where a sample of true class i, predicted as j, moves macro-F1 by

    g = (2·[i = j]/D_i − F1_i/D_i − F1_j/D_j) / K, for D = true + predicted counts of a class and K classes present.
    """
    n, each = counts.sum(), np.where(present, f1 / both, 0.0)
    moved = np.diag(np.where(present, 2 / both, 0.0)) - each[:, None] - each[None, :]
    return float(np.sqrt((counts * moved**2).sum() * n / max(1.0, n - 1)) / present.sum())


def regression(
    predictions: np.ndarray, targets: np.ndarray, unscale: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """MAE, RMSE and R² of all target columns; `unscale` brings both into the target's own units.

    With standard errors over samples: MAE's is that of a mean; RMSE's follows from the mean squared error's by the
    delta method, se(√m) = se(m) / (2·√m); R² = 1 − r for a ratio r of two sums, whose error is √(Σ(e² − r·d²)² · n /
    (n − 1)) / Σd² (Cochran 1977, eq. 6.13), for errors e and deviations d of the targets.
    """
    if predictions.size != targets.size:
        return {}
    truth = np.asarray(unscale(targets.astype(np.float64)), dtype=np.float64)
    guess = np.asarray(unscale(predictions.reshape(targets.shape).astype(np.float64)), dtype=np.float64)
    error = guess - truth
    found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error * error).mean()))}
    if len(error) > 1 and found["rmse"] > 0:
        found[ERROR_OF + "mae"] = _error_of_mean(np.abs(error))
        found[ERROR_OF + "rmse"] = _error_of_mean(error * error) / (2 * found["rmse"])
    away = (truth - truth.mean(0)) ** 2
    spread = away.sum(0)
    if np.all(spread > 0):
        ratio = (error * error).sum(0) / spread
        found["r2"] = float(np.mean(1.0 - ratio))
        if (n := len(error)) > 1:
            each = ((error * error - ratio * away) / spread).reshape(n, -1).mean(1)
            found[ERROR_OF + "r2"] = float(np.sqrt((each * each).sum() * n / (n - 1)))
    return found


def _error_of_mean(values: np.ndarray) -> float:
    """Standard error of the mean over samples; the columns of one sample go together."""
    each = values.reshape(len(values), -1).mean(1)
    return float(each.std(ddof=1) / math.sqrt(len(each)))


def perplexity(loss: float) -> float:
    """e^loss; infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def called(metrics: Callable[[Any, Any], Mapping[str, Any]], predictions: Any, targets: Any) -> dict[str, float]:
    """The user's own metrics. ModelError when they are no dictionary of numbers."""
    found = metrics(predictions, targets)
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"metrics(predictions, targets) returned {type(found).__name__}: {error}.",
            "It must return a dictionary of name → number.",
        ) from error
