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
    lora = known.model.regime == "lora"  # the adapter alone is saved
    size_of = known.model.trainable_parameters if lora else known.model.parameters
    needed = checkpoint_bytes(size_of) * (known.config.keep_checkpoints + 2)
    if needed <= known.disk_free:
        return []
    message = f"Checkpoints need {size(needed)}, {size(known.disk_free)} are free."
    advice = "Free space, keep fewer (keep_checkpoints), or set checkpoint_dir."
    return [Finding("disk", "error", message, advice, {"needed": needed, "free": known.disk_free})]
