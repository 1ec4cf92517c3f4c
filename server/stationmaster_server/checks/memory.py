"""Whether weights, gradients and optimizer state fit in the device's memory; activations are not counted."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from ..policy.formulas import training_bytes
from ..words import size
from . import Known


def check(known: Known) -> list[Finding]:
    """An error when the state alone does not fit, a warning from four fifths of the free memory on."""
    free = known.model.free_memory_bytes
    if not free:
        return []
    model = known.model
    needed = training_bytes(model.trainable_parameters) + 4 * (model.parameters - model.trainable_parameters)
    if needed <= 0.8 * free:
        return []
    message = (
        f"Weights, gradients and optimizer need {size(needed)} of {size(free)} free memory ({known.model.device})."
    )
    facts, advice = {"needed": needed, "free": free}, "Take a smaller model or a larger device."
    return [Finding("memory", "error" if needed > free else "warning", message, advice, facts)]
