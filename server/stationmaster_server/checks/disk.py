"""Whether the checkpoints that are kept fit on the disk; logs are small and not counted."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from ..policy.formulas import checkpoint_bytes
from ..words import size
from . import Known


def check(known: Known) -> list[Finding]:
    """An error when the kept checkpoints, the best one and the one being written need more than is free."""
    if known.disk_free is None:
        return []
    wanted = needed(known)
    if wanted <= known.disk_free:
        return []
    message = f"Checkpoints need {size(wanted)}, {size(known.disk_free)} are free."
    advice = "Free space, keep fewer (keep_checkpoints), or set checkpoint_dir."
    return [Finding("disk", "error", message, advice, {"needed": wanted, "free": known.disk_free})]


def needed(known: Known) -> int:
    """Bytes of the checkpoints that are kept, the best one and the one being written."""
    copies = known.config.keep_checkpoints + 2
    if known.checkpoint_bytes is not None:
        return known.checkpoint_bytes * copies
    lora = known.model.regime == "lora"  # the adapter alone is saved
    size_of = known.model.trainable_parameters if lora else known.model.parameters
    return checkpoint_bytes(size_of) * copies
