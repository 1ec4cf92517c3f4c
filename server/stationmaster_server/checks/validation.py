"""Whether validation can tell what it is there for: waived, or so small that its numbers are mostly noise."""

from __future__ import annotations

import math

from stationmaster_trainer.facts import Finding

from . import Known

SMALL = 50


def check(known: Known) -> list[Finding]:
    """A warning when validation was waived, and for fewer than 50 validation samples."""
    if known.config.val_data == "none":
        return [Finding("validation", "warning", "No validation: overfitting cannot be detected.", "Use a split.")]
    samples = known.split.val_samples
    if samples >= SMALL:
        return []
    noise = f": an accuracy of 0.9 is known to ±{1.96 * math.sqrt(0.09 / max(1, samples)):.2f}"
    message = f"Only {samples} validation samples{noise if known.config.task == 'classification' else ''}."
    return [Finding("validation", "warning", message, "More data, or a larger val_fraction.")]
