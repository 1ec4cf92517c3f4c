"""Whether the run fits into the limits that the person set, as far as that can be told before it starts."""

from __future__ import annotations

from stationmaster_trainer.budget import GB
from stationmaster_trainer.facts import Finding

from ..words import duration, size
from . import Known
from .disk import needed


def check(known: Known) -> list[Finding]:
    """A warning for each limit that the estimate exceeds, and a note of the estimate beside each that it does not."""
    found, config = [], known.config
    if config.max_hours is not None and known.seconds is not None:
        left = config.max_hours * 3600
        fits = known.seconds <= left
        message = f"About {duration(max(1.0, known.seconds))} estimated, max_hours allows {duration(left)}."
        advice = "" if fits else "It saves and stops there: raise max_hours, or plan fewer epochs."
        found.append(Finding("budget", "info" if fits else "warning", message, advice))
    if config.max_disk_gb is not None:
        most, bytes_needed = config.max_disk_gb * GB, needed(known)
        fits = bytes_needed <= most
        message = f"Checkpoints need {size(bytes_needed)}, max_disk_gb allows {size(int(most))}."
        advice = "" if fits else "It saves and stops there: raise max_disk_gb, or keep fewer (keep_checkpoints)."
        found.append(Finding("budget", "info" if fits else "warning", message, advice))
    return found
