"""The best value so far and the patience left: which checkpoint is the best, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """Smaller is better. A value that is not finite is never the best, and uses up patience."""

    best: float | None = None
    """Smallest validation loss so far."""
    best_step: int = 0
    stale: int = 0
    """Validations since then."""
    best_saved: float | None = None
    """Smallest loss among the checkpoints: validation loss, or the window's train loss when that was waived."""
    best_saved_step: int | None = None

    def validated(self, loss: float, step: int) -> None:
        """Takes in one validation."""
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            self.best, self.best_step, self.stale = loss, step, 0
        else:
            self.stale += 1

    def saved(self, loss: float | None, step: int) -> bool:
        """Takes in a checkpoint with its loss (None: unknown); True when it is the best so far."""
        if loss is None or not math.isfinite(loss) or (self.best_saved is not None and loss >= self.best_saved):
            return False
        self.best_saved, self.best_saved_step = loss, step
        return True

    def exhausted(self, patience: int | None) -> bool:
        """Whether `patience` validations in a row brought no better value."""
        return patience is not None and self.stale >= patience

    def plain(self) -> dict[str, Any]:
        """For `position.json`."""
        return asdict(self)

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Progress:
        """From `position.json`."""
        return cls(**{key: plain[key] for key in asdict(cls()) if key in plain})
