"""Whether another run of this person uses the device now, so that the person can choose: wait, or share it."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from . import Known

ADVICE = {
    "refuse": "A start is refused while it does (when_busy: queue waits for it, share starts beside it).",
    "queue": "This run waits for it and starts by itself (when_busy: share starts beside it).",
    "share": "Started now, both are slower (when_busy: queue waits for it).",
}


def check(known: Known) -> list[Finding]:
    """A warning that names the run."""
    if not known.busy:
        return []
    return [Finding("busy", "warning", f"{known.busy[:1].upper()}{known.busy[1:]}.", ADVICE[known.config.when_busy])]
