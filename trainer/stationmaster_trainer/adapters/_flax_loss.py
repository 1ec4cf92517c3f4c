"""The loss of each task from a model's output, with shapes checked: a silent broadcast trains the wrong thing.

The user's own loss wins. A batch may hold rows that only fill it up: they count for nothing. Every function here is
traced by JAX; shapes are known then, values are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from .. import objective
from ..objective import IGNORED
from ..user_model import takes_predictions

UserLoss = Callable[..., Any]


class Objective:
    """What is minimised: `total` for a training step, `each` for validation."""

    def __init__(self, task: str, outputs: int, classes: int = 0, user_loss: UserLoss | None = None) -> None:
        """`outputs`: classes, vocabulary or target columns, as the data have them."""
        self.task = task
        self.by_sample = user_loss is None
        """Whether the loss of each row is known, so that rows can be left out."""
        self._outputs, self._classes, self._user_loss = outputs, classes, user_loss
        self._on_predictions = user_loss is not None and takes_predictions(user_loss)
        if user_loss is None and task == "custom":
            raise objective.missing_loss("array")

    def weight(self, targets: Any, samples: int) -> int:
        """What a batch weighs beside the others of its step: see `objective.weight`; samples under the user's loss."""
        return objective.weight(self.task, targets, samples) if self.by_sample else samples

    @property
    def expected_initial_loss(self) -> float | None:
        """Loss of a model that knows nothing; None where there is no such number."""
        return objective.expected_initial_loss(self.task, self._outputs) if self.by_sample else None

    def total(self, model: Any, inputs: Any, targets: Any, samples: Any) -> Any:
        """Sum of the losses of what counts in the first `samples` rows: divided by the step's weight it is the mean."""
        if not self.by_sample:
            return self.user_mean(model, inputs, targets) * samples
        losses, counts = self._losses(output_of(model(inputs)), targets)
        real = jnp.arange(len(losses)) < samples
        return jnp.where(real, losses * counts, 0.0).sum()

    def each(self, output: Any, targets: Any) -> Any:
        """Loss of each row (B,) of a validation batch."""
        return self._losses(output, targets)[0]

    def user_mean(self, model: Any, inputs: Any, targets: Any) -> Any:
        """The user's own loss of a batch, 0-dimensional."""
        assert self._user_loss is not None
        if self._on_predictions:
            loss = self._user_loss(output_of(model(inputs)), targets)
        else:
            loss = self._user_loss(model, (inputs, targets))
        if isinstance(loss, (tuple, list)) and loss:
            loss = loss[0]
        if not isinstance(loss, jax.Array) or loss.size != 1:
            raise objective.not_scalar(loss, "jax array")
        return loss.reshape(()).astype(jnp.float32)

    def _losses(self, output: Any, targets: Any) -> tuple[Any, Any]:
        """Mean loss of each row (B,), and how much of it counts: 1, or for language models its tokens."""
        if targets is None:
            raise objective.missing_targets(self.task)
        output = output.astype(jnp.float32)
        if self.task == "classification":
            return self._classification(output, targets), 1.0
        if self.task == "language_modeling":
            return self._next_token(output, targets)
        return self._regression(output, targets), 1.0

    def _classification(self, output: Any, targets: Any) -> Any:
        shape = output.shape
        if len(shape) == 2 and shape[1] == self._classes and shape[0] == targets.shape[0]:
            return optax.softmax_cross_entropy_with_integer_labels(output, targets)
        if self._classes == 2 and shape in (targets.shape, (*targets.shape, 1)):
            return optax.sigmoid_binary_cross_entropy(output.reshape(targets.shape), targets.astype(output.dtype))
        wanted = f"({len(targets)}, {self._classes}): one logit for each class"
        raise objective.wrong_shape(output.shape, wanted, "num_classes", self._classes)

    def _regression(self, output: Any, targets: Any) -> Any:
        if output.shape != targets.shape:
            if output.shape not in ((*targets.shape, 1), targets.shape[:-1] if targets.shape[-1:] == (1,) else None):
                wanted = f"{targets.shape}, as the targets have it"
                raise objective.wrong_shape(output.shape, wanted, "out_features", self._outputs)
            output = output.reshape(targets.shape)
        return jnp.square(output - targets).reshape(len(targets), -1).mean(1)

    def _next_token(self, output: Any, targets: Any) -> tuple[Any, Any]:
        if output.ndim != 3 or output.shape[:2] != targets.shape or output.shape[2] < self._outputs:
            wanted = f"{(*targets.shape, self._outputs)}: logits over the vocabulary for each token"
            raise objective.wrong_shape(output.shape, wanted, "vocab_size", self._outputs)
        counted = targets != IGNORED
        each = optax.softmax_cross_entropy_with_integer_labels(output, jnp.where(counted, targets, 0))
        tokens = counted.sum(1)
        return jnp.where(counted, each, 0.0).sum(1) / jnp.maximum(tokens, 1), tokens


def output_of(output: Any) -> Any:
    """The array in what a model returned: itself, its logits, or the first array of a tuple or mapping."""
    return objective.output_of(output, jax.Array, "jax array", "__call__")
