"""Whether the untrained model's loss is that of a model that knows nothing: ln(classes)."""

from __future__ import annotations

import math

from stationmaster_trainer.facts import Finding

from . import Known


def check(known: Known) -> list[Finding]:
    """An error for a loss that is not finite; a warning when it is over twice or under half of ln(classes)."""
    first, expected = known.model.initial_loss, known.model.expected_loss
    if first is None:
        return []
    if not math.isfinite(first):
        message = f"The loss of the first batch is {first}, before any training."
        return [
            Finding("first_loss", "error", message, "Look for a division by zero or a log of zero in model and data.")
        ]
    if not expected or 0.5 * expected <= first <= 2 * expected:
        return []
    message = f"The first loss is {first:.3g}; a model that knows nothing has {expected:.3g} (ln of the classes)."
    advice = "Usual causes: softmax before cross-entropy, unscaled inputs, too large an initialisation."
    return [Finding("first_loss", "warning", message, advice, {"initial": first, "expected": expected})]
