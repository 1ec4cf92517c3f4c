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

    confusion: counts (k, k), true class by predicted class.
    """
    counts = confusion.astype(np.float64)
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    found = {"accuracy": float(hits.sum() / counts.sum())}
    present = truth > 0
    if truth.max() >= IMBALANCE * truth[present].min():
        f1 = 2 * hits / np.maximum(truth + predicted, 1)
        found["macro_f1"] = float(f1[present].mean())
    return found


def regression(
    predictions: np.ndarray, targets: np.ndarray, unscale: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """MAE, RMSE and R² of all target columns; `unscale` brings both into the target's own units.

    With standard errors over samples: MAE's is that of a mean; RMSE's follows from the mean squared error's by the
    delta method, se(√m) = se(m) / (2·√m).
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
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    if np.all(spread > 0):
        found["r2"] = float(np.mean(1.0 - (error * error).sum(0) / spread))
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
