"""Checks before the start, one file each: `check(known) -> list of findings`. The file name is the registration."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.facts import Finding, ModelFacts, SplitFacts


@dataclass(frozen=True)
class Known:
    """What a check may look at."""

    config: TrainingConfig
    split: SplitFacts
    model: ModelFacts
    steps_per_epoch: int
    disk_free: int | None
    """Free bytes where checkpoints will be written."""
    seconds: float | None
    """Estimated training time of the whole run."""
    busy: str = ""
    """Which run uses the device now; empty when it is free."""
    checkpoint_bytes: int | None = None
    """Of one checkpoint, where a smoke test wrote one."""


def known() -> list[str]:
    """Names of all checks."""
    return sorted(path.stem for path in Path(__path__[0]).glob("*.py") if not path.stem.startswith("_"))


def run(facts: Known) -> list[Finding]:
    """Every check's findings, errors first."""
    order = {"error": 0, "warning": 1, "info": 2}
    found = [finding for name in known() for finding in import_module(f"{__name__}.{name}").check(facts)]
    return sorted(found, key=lambda finding: order[finding.severity])
