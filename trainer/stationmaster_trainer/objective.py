"""What the losses of all frameworks share: the weight of a batch, the loss of knowing nothing, and their errors."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from .errors import ModelError

IGNORED = -100
"""Target token that counts for nothing (padding), as in torch's cross entropy."""
A = TypeVar("A")


def weight(task: str, targets: Any, samples: int) -> int:
    """What a batch weighs beside the others of its step: samples, or the tokens in `targets` (array) that count."""
    if task == "language_modeling" and targets is not None:
        return int((targets != IGNORED).sum())
    return samples


def expected_initial_loss(task: str, outputs: int) -> float | None:
    """Loss of a model that knows nothing: ln(classes) or ln(vocabulary); None where there is no such number."""
    return math.log(max(2, outputs)) if task in ("classification", "language_modeling") else None


def output_of(output: Any, kind: type[A], noun: str, call: str) -> A:
    """The array in what a model returned: itself, its logits, or the first array of a tuple or mapping.

    `kind`: the framework's array type, called `noun`; `call`: the method that returned it. Raises ModelError.
    """
    if isinstance(output, kind):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(logits, kind):
        return logits
    parts = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        if isinstance(part, kind):
            return part
    raise ModelError(
        f"the model returned {type(output).__name__}, in which no {noun} was found.",
        f"{call} must return a {noun}, a tuple that starts with one, or something with .logits.",
    )


def looks_like_probabilities(output: np.ndarray) -> bool:
    """Whether rows (B, classes) are in [0, 1] and sum to 1: a softmax before a loss that applies its own."""
    if output.ndim != 2 or output.shape[1] < 2:
        return False
    return bool(((output >= 0) & (output <= 1)).all() and np.allclose(output.sum(1), 1.0, atol=1e-4))


def missing_loss(noun: str) -> ModelError:
    """The task is custom, and there is nothing to minimise."""
    return ModelError(
        "the task is custom, and the model file defines no loss.",
        f"Define loss(model, batch) in the model file: batch is (inputs, targets), the result a scalar {noun}.",
    )


def missing_targets(task: str) -> ModelError:
    """The loss needs what the data do not have."""
    return ModelError(f"the data have no targets for {task}.", "Name the target column, or define loss(model, batch).")


def not_scalar(found: Any, noun: str) -> ModelError:
    """The user's loss returned something else than one number."""
    shape = getattr(found, "shape", None)
    what = type(found).__name__ if shape is None else f"a {noun} of shape {tuple(shape)}"
    return ModelError(f"loss(model, batch) returned {what}.", f"Return one scalar {noun}: the mean over the batch.")


def wrong_shape(shape: Any, wanted: str, argument: str, value: int) -> ModelError:
    """The output does not fit the targets; `argument` is a usual name for the size that would."""
    return ModelError(
        f"the model's output has shape {tuple(shape)}, wanted {wanted}.",
        f"Make the last layer fit (for example model_args: {{{argument}: {value}}}), or define loss(model, batch).",
    )
