"""What measuring a model before the start has in common for all frameworks: stand-in keys, and what is found odd."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from .contract import TrainingConfig
from .facts import Finding

DEFAULT_BATCH = 32
MAX_CHECKPOINT_BYTES = 256 << 20
"""Parameters up to which a checkpoint is written and read back on trial."""
_UNSET: dict[str, Any] = {
    "framework": "pytorch",
    "batch_size": DEFAULT_BATCH,
    "gradient_accumulation": 1,
    "optimizer": "AdamW",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "betas": (0.9, 0.999),
    "warmup_steps": 0,
    "lr_schedule": "constant",
    "total_steps": 1,
    "gradient_clip": 0.0,
    "dropout": None,
    "checkpoint_every": 1,
    "checkpoint_dir": "",
    "log_every": 1,
    "validate_every": 1,
    "logging": (),
    "run_name": "",
    "task": "custom",
    "epochs": 1.0,
}
"""Stand-ins for keys that are not decided yet when the model is measured; none of them changes what is measured."""


def complete(config: Mapping[str, Any], samples: int) -> TrainingConfig:
    """The configuration with stand-ins for what is not decided yet; the batch is at most `samples`."""
    known = {field.name: config[field.name] for field in fields(TrainingConfig) if config.get(field.name) is not None}
    needed = [field.name for field in fields(TrainingConfig) if field.default is MISSING]
    filled = {name: _UNSET[name] for name in needed if name in _UNSET} | known
    filled["batch_size"] = max(1, min(int(filled["batch_size"]), samples))
    return TrainingConfig(**filled)


def about_loss(loss: float, expected: float | None) -> list[Finding]:
    """The first loss, beside that of a model that knows nothing where there is one."""
    facts = {"initial_loss": loss, "expected_loss": expected}
    if not math.isfinite(loss):
        advice = "Look for divisions by zero, logarithms of zero or huge values in the model or the data."
        return [Finding("initial_loss", "error", f"the loss of the first batch is {loss}.", advice, facts)]
    if expected is not None and loss > max(3.0 * expected, expected + 3.0):
        message = f"the first loss is {loss:.3g}; a model that knows nothing has {expected:.3g}."
        advice = "Inputs or the last layer's weights are badly scaled."
        return [Finding("initial_loss", "warning", message, advice, facts)]
    return []


def about_gradients(without: Sequence[str]) -> list[Finding]:
    """`without`: trainable parameters that the loss does not reach."""
    if not without:
        return []
    message = f"{len(without)} parameters get no gradient, for example {without[0]}."
    advice = "They stay as they are: is a layer unused, or its output detached?"
    return [Finding("gradients", "warning", message, advice, {"without_gradient": list(without[:10])})]


def about_softmax() -> Finding:
    """The model gives probabilities where the loss expects logits."""
    message = "the model's output looks like probabilities (each row sums to 1), the loss expects logits."
    return Finding("softmax", "warning", message, "Remove the softmax at the end of the model.", {})
