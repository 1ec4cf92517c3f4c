"""Whether there is a validation at all; how far its numbers can be trusted is a finding on the data."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from . import Known


def check(known: Known) -> list[Finding]:
    """A warning when validation was waived."""
    if known.config.val_data != "none":
        return []
    return [Finding("validation", "warning", "No validation: overfitting cannot be detected.", "Use a split.")]
