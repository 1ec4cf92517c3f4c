"""What a training script imports: `run = stationmaster.watch(model=model, optimizer=optimizer)`; alone, a no-op."""

from __future__ import annotations

from stationmaster_trainer.probes.stationmaster import Run, watch

__all__ = ["Run", "watch"]
