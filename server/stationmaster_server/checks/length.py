"""Whether the run is so short that it teaches little, or so long that a person should know."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from ..words import duration, many
from . import Known

FEW = 50
LONG = 12 * 3600.0


def check(known: Known) -> list[Finding]:
    """A warning for fewer than 50 optimizer steps, and for more than twelve estimated hours."""
    found = []
    total = known.config.total_steps
    if total < FEW:
        found.append(
            Finding(
                "length", "warning", f"Only {many(total, 'optimizer step')} in all.", "More epochs or a smaller batch."
            )
        )
    if known.seconds is not None and known.seconds > LONG:
        message = f"About {duration(known.seconds)} on {known.model.device}, measured on one batch."
        found.append(Finding("length", "warning", message, "Fewer epochs, a smaller model, or a faster device."))
    return found
